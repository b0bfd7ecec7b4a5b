"""Models that edgeproof did not train: what they are, what they say of themselves, and a proof.

`kinds` tells formats apart by their content, `inspection` reads a file in a process of its own,
`convention` decides how a picture becomes the model's input and says where it has that from, and
`models` runs the file on its own runtime and gives the graphs that variants are made of.
"""
