# Needs timm: `pip install timm`. timm's resmlp_big_24_224 is another network,
# of patches of 8x8. The recipe is chosen, as ActiveMLP's.
_base_ = '../../_base_/methods/8xb128_in1k.py'

custom_imports = dict(imports=['mmactive'], allow_failed_imports=False)
model = dict(
    backbone=dict(
        type='mmactive.ResMLP',
        embed_dims=768,
        depth=24,
        layer_scale_init_value=1e-6,
    ),
    head=dict(in_channels=768),
)
