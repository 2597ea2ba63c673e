_base_ = 'activemlp-large_8xb128_in1k.py'

# How the model of the paper's later version was trained is not documented.
# Chosen: the same recipe from scratch, and DeiT's resize to 384 * 256 / 224.
train_pipeline = _base_.train_pipeline
train_pipeline[1].update(scale=384)
test_pipeline = _base_.test_pipeline
test_pipeline[1].update(scale=438)
test_pipeline[2].update(crop_size=384)

train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
