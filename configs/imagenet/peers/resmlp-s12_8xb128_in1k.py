# Needs timm: `pip install timm`. The recipe is chosen, as ActiveMLP's.
_base_ = '../../_base_/methods/8xb128_in1k.py'

model = dict(
    _delete_=True,
    _scope_='mmpretrain',
    type='TimmClassifier',
    model_name='resmlp_12_224',
    loss=_base_.model.head.loss,
    train_cfg=_base_.model.train_cfg,
)
# The average of the weights does not know timm's names.
custom_hooks = []
