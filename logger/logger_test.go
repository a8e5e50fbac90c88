package logger

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type part struct {
	text   string
	number int
	last   bool
}

func assemble(pieces ...string) []part {
	var a Assembler
	var got []part
	emit := func(p Part) { got = append(got, part{string(p.Text), p.Number, p.Last}) }
	for _, p := range pieces {
		a.Write([]byte(p), emit)
	}
	a.Flush(emit)
	return got
}

func TestAssemblerMakesLinesAndCutsLongOnes(t *testing.T) {
	long := strings.Repeat("x", MaxLine)
	cases := map[string]struct {
		pieces []string
		want   []part
	}{
		"lines":                  {[]string{"a\nb\n"}, []part{{"a", 0, true}, {"b", 0, true}}},
		"pieces":                 {[]string{"a", "b", "\nc"}, []part{{"ab", 0, true}, {"c", 0, true}}},
		"empty lines":            {[]string{"\n\n"}, []part{{"", 0, true}, {"", 0, true}}},
		"CR LF":                  {[]string{"a\r\n"}, []part{{"a", 0, true}}},
		"exactly the limit":      {[]string{long + "\n"}, []part{{long, 0, true}}},
		"over the limit":         {[]string{long + "yz\nnext\n"}, []part{{long, 0, false}, {"yz", 1, true}, {"next", 0, true}}},
		"over, in pieces":        {[]string{long[:10], long[10:], "y", "\n"}, []part{{long, 0, false}, {"y", 1, true}}},
		"cut between characters": {[]string{strings.Repeat("x", MaxLine-1) + "€uro\n"}, []part{{strings.Repeat("x", MaxLine-1), 0, false}, {"€uro", 1, true}}},
		"three parts":            {[]string{long, long, "z"}, []part{{long, 0, false}, {long, 1, false}, {"z", 2, true}}},
		"nothing":                {nil, nil},
	}
	for name, c := range cases {
		got := assemble(c.pieces...)
		require.Equal(t, len(c.want), len(got), name)
		for i := range got {
			require.True(t, c.want[i] == got[i], "%s: part %d: number %d, last %v, %d bytes", name, i, got[i].number, got[i].last, len(got[i].text))
		}
	}
}

func FuzzAssembler(f *testing.F) {
	f.Add([]byte("a\nb"), uint8(1))
	f.Add(bytes.Repeat([]byte("x"), MaxLine+3), uint8(200))
	f.Fuzz(func(t *testing.T, data []byte, step uint8) {
		var a Assembler
		var back []byte
		open := false
		emit := func(p Part) {
			if len(p.Text) > MaxLine {
				t.Fatal("a part over the limit")
			}
			back = append(back, p.Text...)
			if open = !p.Last; p.Last {
				back = append(back, '\n')
			}
		}
		for rest := data; len(rest) > 0; {
			n := min(int(step)+1, len(rest))
			a.Write(rest[:n], emit)
			rest = rest[n:]
		}
		a.Flush(emit)
		want := bytes.ReplaceAll(data, []byte("\r\n"), []byte("\n"))
		if len(want) > 0 && want[len(want)-1] != '\n' {
			want = append(bytes.TrimSuffix(want, []byte("\r")), '\n')
		}
		if open || (!bytes.Contains(data, []byte("\r")) && !bytes.Equal(back, want)) {
			t.Fatalf("%q came back as %q", data, back)
		}
	})
}

func TestTailIsCutAtALineStart(t *testing.T) {
	tail := NewTail(20)
	tail.Append([]byte("short\n"))
	require.Equal(t, "short\n", string(tail.Last(20)))
	for i := range 100 {
		tail.Append(fmt.Appendf(nil, "line %02d\n", i))
	}
	require.Equal(t, "line 98\nline 99\n", string(tail.Last(20)), "cut at a line start")
	require.Equal(t, "line 99\n", string(tail.Last(10)))
	tail.Append([]byte(strings.Repeat("ü", 100)))
	require.True(t, utf8.Valid(tail.Last(19)), "never inside a character")
	require.LessOrEqual(t, len(tail.Last(19)), 19)
	require.Equal(t, "b\n", string(CutTail([]byte("aaaa\nb\n"), 4)))
}

func TestLinesAreWrittenAsTextAndJSON(t *testing.T) {
	now := time.Date(2026, 3, 17, 10, 13, 22, 5e6, time.UTC)
	cases := []struct {
		line       Line
		text, json string
	}{
		{Line{Source: SourcePlatform, RequestID: "r", Text: []byte("Start")}, "2026-03-17T10:13:22.005Z Start\n", `{"time":"2026-03-17T10:13:22.005Z","level":"info","request_id":"r","source":"platform","message":"Start"}`},
		{Line{Source: SourceFunction, RequestID: "r", Level: "WARN", Text: []byte("w")}, "2026-03-17T10:13:22.005Z r WARN w\n", `{"time":"2026-03-17T10:13:22.005Z","level":"warn","request_id":"r","source":"function","message":"w"}`},
		{Line{Source: SourceFunction, RequestID: "r", Stream: "stdout", Text: []byte("plain")}, "plain\n", `{"time":"2026-03-17T10:13:22.005Z","level":"info","request_id":"r","source":"function","stream":"stdout","message":"plain"}`},
		{Line{Source: SourceFunction, RequestID: "r", Stream: "stderr", Prefix: true, Text: []byte("p\"\x01\xff")}, "2026-03-17T10:13:22.005Z r p\"\x01\xff\n", `{"time":"2026-03-17T10:13:22.005Z","level":"error","request_id":"r","source":"function","stream":"stderr","message":"p\"\u0001\ufffd"}`},
		{Line{Source: "extensionX.sh", Stream: "stdout", Text: []byte("e")}, "[extensionX.sh] e\n", `{"time":"2026-03-17T10:13:22.005Z","level":"info","source":"extensionX.sh","stream":"stdout","message":"e"}`},
		{Line{Source: SourceFunction, Stream: "stdout", Text: []byte("a"), Part: 0, More: true}, "[part 0] a\n", `{"time":"2026-03-17T10:13:22.005Z","level":"info","source":"function","stream":"stdout","message":"a","part":0,"last":false}`},
		{Line{Source: SourceFunction, Stream: "stdout", Text: []byte("b"), Part: 1}, "[part 1 last] b\n", `{"time":"2026-03-17T10:13:22.005Z","level":"info","source":"function","stream":"stdout","message":"b","part":1,"last":true}`},
	}
	for _, c := range cases {
		c.line.Time = now
		require.Equal(t, c.text, string(c.line.appendText(nil, appendMillis)))
		require.Equal(t, c.json+"\n", string(c.line.appendJSON(nil)))
	}
}

func FuzzJSONString(f *testing.F) {
	f.Add("plain")
	f.Add("\x00\x1f\"\\\n\r\t\x7f\u2028ü\xff\xc3")
	f.Fuzz(func(t *testing.T, s string) {
		var back string
		if err := json.Unmarshal(AppendJSONString(nil, s), &back); err != nil {
			t.Fatalf("%q: %v", s, err)
		}
		if want := strings.ToValidUTF8(s, "\uFFFD"); back != want && utf8.ValidString(s) {
			t.Fatalf("%q came back as %q", s, back)
		}
	})
}

// stuck is a writer that blocks until gate is closed.
type stuck struct {
	mu   sync.Mutex
	gate chan struct{}
	buf  bytes.Buffer
}

func (s *stuck) Write(p []byte) (int, error) {
	<-s.gate
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.buf.Write(p)
}

func TestSinkNeverBlocksAndCounts(t *testing.T) {
	w := &stuck{gate: make(chan struct{})}
	s := NewSink(w, false, nil)
	text := bytes.Repeat([]byte("x"), 10<<10)
	const n = 2000
	for range n { // 20 MB into a sink that takes nothing
		s.Write(&Line{Source: SourceFunction, Stream: "stdout", Text: text})
	}
	lines, _, drops := s.Counts()
	require.EqualValues(t, n, lines)
	require.Greater(t, drops, int64(n/2))
	close(w.gate)
	s.Close(time.Now().Add(time.Minute))
	w.mu.Lock()
	defer w.mu.Unlock()
	out := w.buf.String()
	require.EqualValues(t, n-drops, strings.Count(out, "xxx\n"), "what was not dropped was written")
	require.Contains(t, out, fmt.Sprintf("%d log lines dropped: stdout is not read fast enough", drops))
}

func TestSinkCloseDoesNotWaitForEver(t *testing.T) {
	w := &stuck{gate: make(chan struct{})}
	s := NewSink(w, false, nil)
	s.Write(&Line{Source: SourceFunction, Text: []byte("x")})
	s.Close(time.Now().Add(10 * time.Millisecond))
	close(w.gate)
	<-s.out.done
}

func TestSinkKeepsOrder(t *testing.T) {
	var buf bytes.Buffer
	s := NewSink(&buf, true, nil)
	for i := range 10000 {
		s.Write(&Line{Source: SourceFunction, Text: fmt.Append(nil, i)})
	}
	s.Close(time.Now().Add(time.Minute))
	i := 0
	for line := range strings.Lines(buf.String()) {
		var got struct{ Message string }
		require.NoError(t, json.Unmarshal([]byte(line), &got))
		require.Equal(t, fmt.Sprint(i), got.Message)
		i++
	}
	require.Equal(t, 10000, i)
}

// TestPumpMemoryIsConstant pushes 100 MB without a line ending through the pump.
func TestPumpMemoryIsConstant(t *testing.T) {
	read, write, err := os.Pipe()
	require.NoError(t, err)
	defer read.Close()
	go func() {
		mb := bytes.Repeat([]byte("y"), 1<<20)
		for range 100 {
			_, _ = write.Write(mb)
		}
		_ = write.Close()
	}()
	total, parts, longest := 0, 0, 0
	NewPump(read, func(p Part) {
		total += len(p.Text)
		longest = max(longest, len(p.Text))
		if p.Number != parts {
			t.Fatalf("part %d came as number %d", parts, p.Number)
		}
		parts++
	}).Run()
	require.Equal(t, 100<<20, total)
	require.Equal(t, MaxLine, longest)
}

func TestRequestLogJoinsPiecesAndKeepsItsTail(t *testing.T) {
	var buf bytes.Buffer
	s := NewSink(&buf, false, nil)
	r := NewRequest(s, "id", false, true)
	now := time.Date(2026, 3, 17, 10, 13, 22, 0, time.UTC)
	r.Platform(now, []byte("Start invoke request 'id', version: latest"))
	r.Output(now, "stdout", []byte("ha"), nil)
	r.Output(now, "stderr", []byte("error line\n"), nil)
	r.Output(now, "stdout", []byte("lf\nrest"), nil)
	r.Logger(now, "INFO", []byte("one\ntwo"), false)
	r.Logger(now, "INFO", []byte("piece"), true)
	r.Logger(now, "INFO", []byte(" and end"), false)
	r.Flush(now)
	require.Equal(t, "2026-03-17T10:13:22Z Start invoke request 'id', version: latest\nerror line\nhalf\n2026-03-17T10:13:22Z id INFO one\ntwo\n2026-03-17T10:13:22Z id INFO piece and end\nrest\n", string(r.Tail()))
	require.Nil(t, NewRequest(s, "x", false, false).Tail())
	s.Close(time.Now().Add(time.Minute))
	require.Equal(t, strings.ReplaceAll(string(r.Tail()), "22Z", "22.000Z"), buf.String())
}

func TestNewRefusesUnknownLevels(t *testing.T) {
	_, err := New(io.Discard, "loud", false, false)
	require.ErrorContains(t, err, "want debug, info, warn or error")
}

func TestLimitRefusesAndCountsTheExcessOfAPeriod(t *testing.T) {
	var l Limit
	now := time.Now()
	for range limitTaken {
		left, ok := l.Take(now)
		require.True(t, ok)
		require.Zero(t, left)
	}
	for range 1000 {
		_, ok := l.Take(now.Add(limitPeriod - 1))
		require.False(t, ok)
	}
	left, ok := l.Take(now.Add(limitPeriod))
	require.True(t, ok, "a minute later")
	require.EqualValues(t, 1000, left)
	left, ok = l.Take(now.Add(limitPeriod))
	require.True(t, ok)
	require.Zero(t, left, "reported once")
}
