# In the size of ActiveMLP-xTiny, for configs/digits: wider than ResNet-18.
backbone = dict(
    type='mmpretrain.ResNet', depth=18, stem_channels=72, base_channels=72
)
channels = [72, 144, 288, 576]
init_cfg = dict(type='Pretrained', prefix='backbone.')
