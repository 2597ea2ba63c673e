# Pairs of digits and a bar, written by tools/dataset_converters/
# pointed_digits.py. A config starts from the classifier that digits.py makes
# of its backbone.
_base_ = './digits.py'

# Images are as large as they are to be, and what matters is where things lie.
train_pipeline = [_base_.train_pipeline[0], _base_.train_pipeline[-1]]
test_pipeline = [_base_.test_pipeline[0], _base_.test_pipeline[-1]]

data_root = 'data/pointed_digits'
train_dataloader = dict(
    dataset=dict(data_root=data_root, pipeline=train_pipeline)
)
val_dataloader = dict(
    batch_size=50, dataset=dict(data_root=data_root, pipeline=test_pipeline)
)
test_dataloader = val_dataloader

max_epochs = 3
param_scheduler = [
    dict(_base_.param_scheduler[0], end=1),
    dict(
        _base_.param_scheduler[1],
        begin=1,
        end=max_epochs,
        T_max=max_epochs - 1,
    ),
]
train_cfg = dict(max_epochs=max_epochs)
