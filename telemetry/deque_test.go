package telemetry

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestDequeKeepsTheOrderOfASlice compares with a slice: growth at any position of the head, wrap-around, and the end
// of a large one.
func TestDequeKeepsTheOrderOfASlice(t *testing.T) {
	for _, most := range []int{3, smallDeque, smallDeque + 1, 500, 3 * keptDeque} {
		var d deque[*int]
		var want []*int
		next, random := 0, rand.New(rand.NewPCG(1, uint64(most)))
		push := func() {
			n := next
			next++
			e := &n
			d.push(&e)
			want = append(want, e)
		}
		pop := func() {
			require.Same(t, want[0], *d.front())
			require.Same(t, want[0], d.pop())
			want = want[1:]
		}
		for range 20 {
			for range random.IntN(most) + 1 {
				push()
			}
			require.Equal(t, len(want), d.n)
			for range random.IntN(len(want) + 1) {
				pop()
			}
			if random.IntN(4) == 0 {
				for len(want) > 0 {
					pop()
				}
			}
			require.Zero(t, len(d.buf)&(len(d.buf)-1), "a power of two")
		}
		for len(want) > 0 {
			pop()
		}
		require.LessOrEqual(t, len(d.buf), keptDeque)
	}
}

func TestDequeLetsGoOfTakenElements(t *testing.T) {
	var d deque[*int]
	fill := func(n int) {
		for i := range n {
			e := &i
			d.push(&e)
		}
	}
	fill(keptDeque)
	for d.n > 0 {
		d.pop()
	}
	require.Len(t, d.buf, keptDeque, "kept")
	for _, e := range d.buf {
		require.Nil(t, e, "but not what was in it")
	}
	fill(keptDeque + 1)
	for d.n > 1 {
		d.pop()
	}
	require.Len(t, d.buf, 2*keptDeque)
	d.pop()
	require.Nil(t, d.buf)
	fill(1)
	require.Len(t, d.buf, smallDeque)
}
