"""What weight-changing methods share, written once: where layers are, what flows through them, what is to be added.

The core of `memedit.methods`: `layout` (a table of families), `trace` (activations), `tokens` (where the subject is),
`covariance` (second moments of keys), `value` (the search for what a layer ought to say), `delta` and `change` (what
to add to the weights, and adding it). Each imports torch, so nothing is imported here.
"""
