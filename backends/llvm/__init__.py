"""The LLVM backend: textual LLVM IR, compiled by llvmlite into native kernels."""
