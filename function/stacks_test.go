package function

import (
	"gantry/function/internal/require"
	"strings"
	"testing"
)

// TestCallsComeFirstAmongStacks: what has no room is of other goroutines.
func TestCallsComeFirstAmongStacks(t *testing.T) {
	other := "goroutine 1 [running]:\n" + strings.Repeat("x", 100)
	call := "goroutine 9 [select]:\nmain.handle()\ngantry/function.(*function).perform(0x1)\n"
	text := []byte(other + "\n\n" + other + "\n\n" + call)
	require.Equal(t, call+"\n"+other+"\n\n"+other+"\n\n", string(callsFirst(text, 1000)))
	require.Equal(t, call, string(callsFirst(text, len(call))))
}
