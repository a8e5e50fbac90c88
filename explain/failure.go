package explain

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// Failure is what is known about a call that failed. The command invoke fills it, shows it, and keeps it as JSON for
// "explain --last": so it has neither the event nor the answer.
type Failure struct {
	Time      time.Time `json:"time"`
	RequestID string    `json:"request_id,omitempty"`
	// CodeRoot is the code folder, whose files Text reads; empty if it is not on this machine.
	CodeRoot string `json:"code_root,omitempty"`
	// Code, Type and Message are those of the answer. Message is empty where it may quote the event.
	Code    int    `json:"code"`
	Type    string `json:"type"`
	Message string `json:"message,omitempty"`
	// Hint is what the runtime found out about this failure.
	Hint string `json:"hint,omitempty"`
	// Took and Limit are the time of the call and its limit; MemoryMB and LimitMB the peak and the limit. Zero: not known.
	Took     time.Duration `json:"took_ns,omitempty"`
	Limit    time.Duration `json:"limit_ns,omitempty"`
	MemoryMB float64       `json:"memory_mb,omitempty"`
	LimitMB  int           `json:"limit_mb,omitempty"`
	// Place is the line of code, nil if the evidence names none. Stopped are the lines where a call that had to be stopped
	// was, innermost first.
	Place   *Place  `json:"place,omitempty"`
	Stopped []Place `json:"stopped,omitempty"`
	// Busy says of a call that had to be stopped whether it computed (true) or waited (false); nil: not known. Waits are
	// what it may have waited for. Unsettled says that it waited and that nothing was left that could go on.
	Busy      *bool  `json:"busy,omitempty"`
	Waits     []Wait `json:"waits,omitempty"`
	Unsettled bool   `json:"unsettled,omitempty"`
	// LastLines are the last lines of the process. They are not kept in a file, as they may hold anything.
	LastLines []string `json:"-"`
}

// Wait is something open at the deadline.
type Wait struct {
	// What it is, in the terms of the system: "TCP to 10.0.0.7:3306, SYN-SENT", "process 41, sleep", "Timeout".
	What string `json:"what"`
	// Unconnected says of a connection that its other end has not answered at all.
	Unconnected bool `json:"unconnected,omitempty"`
}

// phrases are the texts around a failure. One with a %s takes a value.
type phrases struct {
	request, after, of, memory, in, why, hint, do, more, stopped, busy, waited, waits, last, unconnected, unsettled string
}

var words = [2]phrases{
	{
		request: "request", after: "after", of: "of", memory: "memory", in: "in", why: "Why", hint: "Hint", do: "Do",
		more: "More", stopped: "it was here when its time was over", busy: "It was computing when its time was over.",
		waited: "It was waiting when its time was over.", waits: "Open at that moment", last: "Last lines of the process",
		unconnected: "the other end has not answered at all",
		unsettled:   "Nothing was left that could go on: a Promise is never settled, or a callback never called.",
	},
	{
		request: "请求", after: "耗时", of: "/", memory: "内存", in: "位于", why: "原因", hint: "提示", do: "处理", more: "更多",
		stopped: "超时时执行到此处", busy: "超时时函数正在计算。",
		waited: "超时时函数正在等待。", waits: "当时仍打开", last: "进程的最后几行输出",
		unconnected: "对端完全没有应答",
		unsettled:   "已没有任何可继续执行的任务：某个 Promise 从未结束，或某个 callback 从未被调用。",
	},
}

// Text is what a person at a terminal reads. program is what the command is called; colour allows escape sequences.
func (f *Failure) Text(l Language, program string, colour bool) string {
	var b strings.Builder
	w := words[l]
	paint := func(code, text string) string {
		if !colour {
			return text
		}
		return "\x1b[" + code + "m" + text + "\x1b[0m"
	}
	fmt.Fprintf(&b, "%s %s\n", paint("31;1", "✗"), paint("1", f.title(l)))
	if facts := f.facts(&w); facts != "" {
		fmt.Fprintf(&b, "  %s\n", paint("2", facts))
	}
	f.places(&b, &w, paint)
	if why := f.why(l, &w); why != "" {
		fmt.Fprintf(&b, "\n  %s: %s\n", paint("1", w.why), why)
	}
	for i, wait := range f.Waits {
		if i == 0 {
			fmt.Fprintf(&b, "  %s:\n", w.waits)
		}
		remark := ""
		if wait.Unconnected {
			remark = ": " + w.unconnected
		}
		fmt.Fprintf(&b, "    %s%s\n", plain(wait.What), remark)
	}
	if f.Hint != "" {
		fmt.Fprintf(&b, "  %s: %s\n", paint("1", w.hint), plain(f.Hint))
	} else if r := find(f.Type); r != nil {
		fmt.Fprintf(&b, "  %s: %s\n", paint("1", w.do), r.what[l])
	}
	for i, line := range f.LastLines {
		if i == 0 {
			fmt.Fprintf(&b, "\n  %s:\n", w.last)
		}
		fmt.Fprintf(&b, "    %s\n", plain(line))
	}
	fmt.Fprintf(&b, "  %s: %s explain %s\n", w.more, program, f.topic())
	return b.String()
}

func (f *Failure) title(l Language) string {
	title := strconv.Itoa(f.Code)
	if f.Type != "" {
		title += " " + plain(f.Type)
	}
	text, _, _ := strings.Cut(f.Message, "\n")
	if text == "" {
		if r := find(f.topic()); r != nil {
			text = r.title[l]
		}
	}
	if text == "" {
		return title
	}
	return title + ": " + plain(text)
}

// facts is one line of figures.
func (f *Failure) facts(w *phrases) string {
	var parts []string
	if f.RequestID != "" {
		parts = append(parts, w.request+" "+f.RequestID)
	}
	if f.Took > 0 {
		part := w.after + " " + rounded(f.Took).String()
		if f.Limit > 0 {
			part += " " + w.of + " " + f.Limit.String()
		}
		parts = append(parts, part)
	}
	if f.MemoryMB > 0 && f.LimitMB > 0 {
		parts = append(parts, fmt.Sprintf("%s %.0f %s %d MB", w.memory, f.MemoryMB, w.of, f.LimitMB))
	}
	return strings.Join(parts, ", ")
}

func rounded(d time.Duration) time.Duration {
	if d >= time.Second {
		return d.Round(10 * time.Millisecond)
	}
	return d.Round(100 * time.Microsecond)
}

func (f *Failure) places(b *strings.Builder, w *phrases, paint func(code, text string) string) {
	all := slices.Clone(f.Stopped)
	if f.Place != nil {
		all = append([]Place{*f.Place}, all...)
	}
	for i := range all {
		p := &all[i]
		if i == 0 && f.CodeRoot != "" {
			p.read(f.CodeRoot)
		}
		name := ""
		if p.Function != "" {
			name = ", " + w.in + " " + plain(p.Function)
		}
		if i == 0 {
			b.WriteByte('\n')
			if f.Place == nil {
				name += ": " + w.stopped
			}
		}
		fmt.Fprintf(b, "  %s%s\n", paint("36", fmt.Sprintf("./%s:%d", plain(p.File), p.Line)), name)
		if i > 0 { // its callers
			continue
		}
		for _, line := range p.source {
			mark, text := " ", fmt.Sprintf("%5d │ %s", line.number, plain(line.text))
			if line.number == p.Line {
				mark, text = ">", paint("1", text)
			}
			fmt.Fprintf(b, "  %s%s\n", mark, text)
		}
	}
}

// why is what the evidence shows: what a call did when it was stopped, or the table's reason for one of the agent's
// own types, which have one each. A code that comes up for several reasons is not guessed at.
func (f *Failure) why(l Language, w *phrases) string {
	switch {
	case f.Unsettled:
		return w.waited + " " + w.unsettled
	case f.Busy != nil && *f.Busy:
		return w.busy
	case f.Busy != nil:
		return w.waited
	}
	if r := find(f.Type); r != nil {
		return r.why[l]
	}
	return ""
}

// topic is the best argument for explain: the type where the table has it, else the code.
func (f *Failure) topic() string {
	if find(f.Type) != nil {
		return f.Type
	}
	return strconv.Itoa(f.Code)
}

// plain takes control characters out of the function's own text: a terminal would obey them.
func plain(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n', r == '\t':
			return ' '
		case unicode.IsControl(r):
			return -1
		}
		return r
	}, text)
}
