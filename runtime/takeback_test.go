package runtime

import (
	"gantry/function/frame"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestUnreadCallsAreThoseOfWhichNothingWasRead: whatever the worker has read, from nothing to all.
func TestUnreadCallsAreThoseOfWhichNothingWasRead(t *testing.T) {
	sizes := []int{40, 13, 500}
	var written []*call
	all := 0
	for _, n := range sizes {
		written = append(written, &call{size: n})
		all += n
	}
	const head = 70 // of the call that runs, which may still be there
	stream := make([]byte, head+all)
	for read := range len(stream) + 1 {
		want, from := 0, len(stream)
		for i := len(sizes) - 1; i >= 0 && from-sizes[i] >= read; i-- {
			want++
			from -= sizes[i]
		}
		unread, begun := unreadOf(written, stream[read:])
		require.Equal(t, want, unread, "%d bytes read", read)
		require.Len(t, begun, max(0, from-read), "%d bytes read", read)
	}
}

func TestFirstCallIsAWholeFrame(t *testing.T) {
	whole := frame.Append(nil, frame.Invoke, 7, []byte(`{"requestId":"r","deadline":1}`), []byte("{}"))
	id, found := firstCall(append(whole[:len(whole):len(whole)], whole...))
	require.True(t, found)
	require.Equal(t, uint32(7), id)
	for read := 1; read <= len(whole); read++ {
		_, found = firstCall(whole[read:])
		require.False(t, found, "%d bytes read", read)
	}
	_, found = firstCall(frame.Append(nil, frame.Cancel, 7, nil, nil))
	require.False(t, found)
}

func TestResultMetaIsReadInAnyForm(t *testing.T) {
	for text, want := range map[string]resultMeta{
		"":                                    {},
		`{"text":true}`:                       {Text: true},
		`{"took":123456,"cpu":0}`:             {figuresMeta: figuresMeta{Took: 123456}},
		`{ "cpu": 7, "took": 12 }`:            {figuresMeta: figuresMeta{Took: 12, CPU: 7}},
		`{"text":true,"took":1,"cpu":2}`:      {Text: true, figuresMeta: figuresMeta{Took: 1, CPU: 2}},
		`{"took":1,"cpu":2,"later":[1,2,3]}`:  {figuresMeta: figuresMeta{Took: 1, CPU: 2}},
		`{"ahead":true}`:                      {Ahead: true},
		`{"took":999999999999999,"cpu":1}`:    {figuresMeta: figuresMeta{Took: 999999999999999, CPU: 1}},
		`{"took":9999999999999990,"cpu":123}`: {figuresMeta: figuresMeta{Took: 9999999999999990, CPU: 123}},
	} {
		got, err := readResultMeta([]byte(text))
		require.NoError(t, err, text)
		require.Equal(t, want, got, text)
	}
	for _, text := range []string{`{"took":1,"cpu":}`, `{"took":,"cpu":1`, `{"took":1`, `[]`, `{"took":"x"}`} {
		_, err := readResultMeta([]byte(text))
		require.Error(t, err, text)
	}
	require.Equal(t, Figures{Took: 2 * time.Millisecond, CPU: time.Microsecond}, figuresMeta{Took: 2000, CPU: 1}.figures())
}
