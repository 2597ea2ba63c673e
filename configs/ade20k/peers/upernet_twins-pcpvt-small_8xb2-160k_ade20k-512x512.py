# Batches of 16, as in all of Table 4, in place of 32.
_base_ = 'mmseg::twins/twins_pcpvt-s_uperhead_8xb4-160k_ade20k-512x512.py'

train_dataloader = dict(batch_size=2)
