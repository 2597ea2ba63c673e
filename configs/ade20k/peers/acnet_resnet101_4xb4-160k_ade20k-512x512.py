# DANet, which the paper cites for its row "ACNet" and whose cost it prints.
# ACNet (Adaptive Context Network) is another work of the same first author,
# which mmseg does not have.
_base_ = 'mmseg::danet/danet_r101-d8_4xb4-160k_ade20k-512x512.py'
