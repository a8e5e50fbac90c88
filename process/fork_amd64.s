#include "textflag.h"

// func cloneChild(trap, a1, a2 uintptr, code uintptr, c *spawn) (pid, errno uintptr)
//
// The child begins on a stack of its own, and calls the function at code with c, by the internal calling convention: the
// assembler's own way would go through a wrapper, which the race detector instruments. The function does not return.
TEXT ·cloneChild(SB),NOSPLIT,$0-56
	MOVQ	trap+0(FP), AX
	MOVQ	a1+8(FP), DI
	MOVQ	a2+16(FP), SI
	MOVQ	code+24(FP), R13
	MOVQ	c+32(FP), R12	// the kernel keeps R12, R13, and R14, which is g
	XORL	DX, DX
	XORL	R10, R10
	XORL	R8, R8
	XORL	R9, R9
	SYSCALL
	CMPQ	AX, $0xfffffffffffff001
	JLS	ok
	NEGQ	AX
	MOVQ	$0, pid+40(FP)
	MOVQ	AX, errno+48(FP)
	RET
ok:
	TESTQ	AX, AX
	JEQ	child
	MOVQ	AX, pid+40(FP)
	MOVQ	$0, errno+48(FP)
	RET
child:
	SUBQ	$32, SP	// the callee's spill area
	MOVQ	R12, AX
	XORPS	X15, X15
	CALL	R13
	INT	$3
