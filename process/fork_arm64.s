#include "textflag.h"

// func cloneChild(trap, a1, a2 uintptr, code uintptr, c *spawn) (pid, errno uintptr)
//
// The child begins on a stack of its own, and calls the function at code with c, by the internal calling convention: the
// assembler's own way would go through a wrapper, which the race detector instruments. The function does not return.
TEXT ·cloneChild(SB),NOSPLIT,$0-56
	MOVD	trap+0(FP), R8
	MOVD	a1+8(FP), R0
	MOVD	a2+16(FP), R1
	MOVD	code+24(FP), R19
	MOVD	c+32(FP), R20	// the kernel keeps R19, R20, and R28, which is g
	MOVD	$0, R2
	MOVD	$0, R3
	MOVD	$0, R4
	MOVD	$0, R5
	SVC
	CMN	$4095, R0
	BCC	ok
	NEG	R0, R0
	MOVD	ZR, pid+40(FP)
	MOVD	R0, errno+48(FP)
	RET
ok:
	CBZ	R0, child
	MOVD	R0, pid+40(FP)
	MOVD	ZR, errno+48(FP)
	RET
child:
	SUB	$32, RSP	// the callee's link and its spill area
	MOVD	R20, R0
	CALL	(R19)
	BRK
