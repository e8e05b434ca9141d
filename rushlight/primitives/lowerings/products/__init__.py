"""Matrix products of any strides, written for the processor at hand.

problem    `Product`: a contraction as loops over batch, rows, columns and depth, with the strides of each
tiling     how large register tiles, cache blocks and work items are: a cost model over shapes and strides
packing    panels of an operand, side by side in the order in which tiles read them
blocked    the product as register tiles over panels
dots       few rows: sums along memory, every element of the larger operand read once
outer      few terms: no tiles, one pass over the result
splitting  long sums of small results in parts, added in a fixed order
"""
