package check

import (
	"bytes"
	"errors"
	"gantry/extension"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestReportEscapesWhatExtensionsPrint: a report may quote control characters and markup.
func TestReportEscapesWhatExtensionsPrint(t *testing.T) {
	var lines bytes.Buffer
	r := newReport(`extension<"X">&`, &lines, false)
	r.add(named("one", passed("fine, 100%%")))
	r.add(named("two", warned("do this", "it said %s", "\x1b[31mred\x00\n<&]]>\xff")))
	r.add(named("three", failed("do that", "a\nb")))
	r.add(named("four", skipped("no need")))
	require.Equal(t, strings.Join([]string{
		"ok    one                     fine, 100%",
		"warn  two                     it said  [31mred  <&]]>\ufffd; right: do this",
		"fail  three                   a b; right: do that",
		"skip  four                    no need", "",
	}, "\n"), lines.String())
	require.Regexp(t, `: 4 checks in \d.*: 1 ok, 1 warnings, 1 failures, 1 skipped$`, r.summary())
	cases := r.suite().Cases
	require.Len(t, cases, 4)
	require.Equal(t, `extension<"X">&`, cases[0].Class)
	require.Empty(t, cases[0].Out)
	require.Equal(t, "warning: it said \x1b[31mred\x00\n<&]]>\xff\nright: do this\n", cases[1].Out)
	require.Equal(t, "a\nb", cases[2].Failure.Message)
	require.Equal(t, "a\nb\nright: do that\n", cases[2].Failure.Text)
	require.Equal(t, "no need", cases[3].Skipped.Message)
}

// TestOutputLimitsGrowWithTheCalls: much output is a warning, by lines and by bytes for each call.
func TestOutputLimitsGrowWithTheCalls(t *testing.T) {
	k := &Kit{lines: 1000, bytes: 20_000, calls: 100}
	require.Equal(t, verdictOK, k.checkOutput().verdict)
	k.lines = 100_000
	require.Equal(t, verdictWarn, k.checkOutput().verdict)
	k = &Kit{lines: 10, bytes: 10 << 20, parts: 150, calls: 100}
	require.Contains(t, k.checkOutput().seen, "150 parts of lines over 64 KiB")
	require.Equal(t, verdictWarn, k.checkOutput().verdict)
}

// TestVerdictsFollowTheTimesAndFailuresOfAnswers needs no clock.
func TestVerdictsFollowTheTimesAndFailuresOfAnswers(t *testing.T) {
	ms := func(all ...int) (d []time.Duration) {
		for _, n := range all {
			d = append(d, time.Duration(n)*time.Millisecond)
		}
		return d
	}
	for _, c := range []struct {
		a       answers
		sync    bool
		verdict verdict
		seen    string
	}{
		{answers{took: ms(3, 1, 2)}, false, verdictOK, "3 calls so, all answered; median 2.0 ms, slowest 3.0 ms"},
		{answers{took: ms(50)}, true, verdictWarn, "one call so, all answered; median 50 ms, slowest 50 ms; sync"},
		{answers{took: ms(500)}, false, verdictWarn, "median 500 ms"},
		{answers{took: ms(1, 1, 1000, 1, 1001)}, false, verdictWarn, "slowest 1.0 s"},
		{answers{took: ms(1), failed: 1, err: errors.New("status 404")}, false, verdictFail, "2 calls so, 1 of them without a good answer: status 404"},
		{answers{missing: 2}, false, verdictFail, "not delivered"},
		{answers{}, false, verdictSkip, "--timeout"},
	} {
		k := &Kit{registration: &registrationSeen{sync: c.sync, Registration: extension.Registration{}}}
		f := k.judge("so", &c.a, "right")
		require.Equal(t, c.verdict, f.verdict, c.seen)
		require.Contains(t, f.seen, c.seen)
	}
}

// TestVerdictsHaveColorsWhereAsked: the words alone, so that columns stay in line.
func TestVerdictsHaveColorsWhereAsked(t *testing.T) {
	var lines bytes.Buffer
	r := newReport("extensionX", &lines, true)
	r.add(named("one", passed("fine")))
	r.add(named("two", warned("do this", "slow")))
	r.add(named("three", failed("do that", "wrong")))
	r.add(named("four", skipped("no need")))
	require.Equal(t, strings.Join([]string{
		"\x1b[32mok  \x1b[0m  one                     fine",
		"\x1b[33mwarn\x1b[0m  two                     slow; right: do this",
		"\x1b[31mfail\x1b[0m  three                   wrong; right: do that",
		"skip  four                    no need", "",
	}, "\n"), lines.String())
}
