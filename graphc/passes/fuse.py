"""Fusion: Graph -> Partition.  This docstring is the contract between fusion and the backends.

Composites are expanded first (`expand`); one that was kept whole is a kernel of its own.

**Element.**  Every kernel can be read as a formula for one element of a value at an index; a backend needs
this one recursion, `element(v, i)`, and a loop around it:

    v is an input of the kernel      load v[i] (row-major, contiguous)
    elementwise node                 op.scalar(b, *(element(x, i) for x in inputs), **attributes)
    constant, dim_size               the number;   iota: i[axis]
    broadcast_to x                   element(x, i without the new leading axes, 0 along axes of size 1)
    reshape x                        only where it inserts or removes axes of size 1: the same index without/with zeros
    transpose x                      element(x, j),  j[permutation[a]] = i[a]
    slice x                          element(x, starts + i * steps)
    reverse x                        element(x, size - 1 - i along axes)
    pad x                            with j = i - low: element(x, j // (interior + 1)) where 0 <= j, j is divisible and the
                                     quotient < size, else `value`; nothing is loaded outside
    concat x0, x1, ...               the operand whose range of the axis holds i, at the index less that range's start
    reduction node (kind row)        the number its row was reduced to

Within a kernel every node that is not cheap is evaluated at one index per point, so nothing is computed twice.
**Cheap** nodes are constant, iota, dim_size, elementwise nodes on numbers (rank 0) whose operands are all cheap,
broadcast_to, and a reshape that only inserts or removes axes of size 1.  Each kernel that uses one has its own copy;
loop-invariant ones are hoisted.  "The same shape" below means: equal up to axes of size 1, hence the same row-major offset.

**Kinds**, all a backend must be able to run:

    view          one reshape; the output is the input's buffer under another shape.
    loop          index space S = the shape of the outputs, which are all of the same shape and are evaluated at i itself.
                  Nodes: elementwise, movement, creation, as above.  Each input is read through its own chain of
                  index maps, possibly through several.
    row           reductions (sum, max, min, argmax ...) over the same axes R of operands of the same shape S.  A node is
                  at *full* level (shape S) or at *row* level (shape of S without R, constant within a row); row values reach
                  full level through broadcast_to.  Elementwise nodes stand at either level; movement nodes only at full
                  level, and only between inputs and the rest.  Outputs have the shape S or the row shape.
                  For each row: sweep over R once for each depth of reductions (softmax: max, then sum, then the store), with
                  all reductions of a depth in one sweep.  A full-level value needed in a later sweep is kept or evaluated
                  again, as the backend likes.  R need not be the last axes: bias gradients reduce axis 0 (vectorise over
                  rows then), batch norm reduces 0, 2, 3.  `row_space(kernel)` gives S and R.
    contraction   anchor matmul | convolution, conv_dx, conv_dw | a window op | a random op, which reads its operands from
    convolution   memory as they are (flags such as transpose_x are attributes), and an epilogue: elementwise nodes of
    pooling       exactly the shape of the anchor's result, evaluated at the element just computed, before it is stored.
    random        Epilogue operands are the anchor's results, other epilogue nodes, and inputs read at the same index
                  through broadcast_to and unit reshape only (bias, scale per channel, residual, mask, parameter to
                  update).  No movement, no reduction.  The anchor's results and epilogue values may all be outputs.
    indexing      one gather or scatter, alone.
    composite     one composite that `expand` was told to keep, alone.

**Memory.**  Inputs and outputs of a kernel are whole contiguous tensors; `outputs` are exactly the values that another
kernel reads or the graph returns.  An output may share the buffer of an input only where every read of that input is at
the index being stored; the planner asks `reads_in_place(kernel, value)`.  An output of the graph that is a leaf is written by
no kernel.  Kernels are listed in a valid order; a scheduler may use any other one that respects reads and writes.

**Limits.**  At most `MAX_NODES` nodes that are not cheap in a kernel, so that no function grows without bound.
"""
