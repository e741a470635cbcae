"""The web demo: a picture and phrases in, masks, scores and the unrolled recurrence out."""
