package main

import (
	"fmt"
	"gantry/bench/results"
	"maps"
	"slices"
	"strings"
)

// compared says what the ratios of a section are of; a section that is not here goes without.
var compared = map[string]string{
	"throughput": "Gantry around an event function, to a Node.js server written by hand around the same handler, and to " +
		"Google's functions-framework. All servers share one CPU, the load comes from the other.",
	"http": "An HTTP function, to its server called directly, to that server behind Go's reverse proxy and behind nginx, " +
		"and to an HTTP function of Google's functions-framework. All share one CPU.",
	"streams": "A server that streams as an HTTP function without the platform's limits, to the server itself.",
	"apig":    "The front in the place of API Gateway, to the function listener of the same agent.",
	"languages": "Functions in Python and Go and custom runtimes, to servers written by hand in the same language or to " +
		"another way to run the same function.",
	"java":       "Functions in Java, to the JDK's own HTTP server around the same class, and to those in Node.js.",
	"php":        "Functions in PHP, to PHP's built-in server around the same file.",
	"extensions": "An agent with ten extensions, to one without.",
	"telemetry":  "An agent with a subscriber of all telemetry, to one without.",
	"platform":   "An agent with the platform API on, to one without; then calls over the platform API.",
	"async":      "Accepted events, to a bare client of the same store; calls beside a queue that is worked off.",
	"scale":      "What the queues of functions cost three servers of NATS; accepts, to a bare client of one stream.",
	"start":      "From the start of the process to the first answer, or to its end.",
	"against":    "This build, to another build of the agent.",
}

// fewRounds is below what a median can be trusted with.
const fewRounds = 5

// busy is the use of the machine by others, in per cent, above which latencies and rates say little.
const busy = 5

// cautions are the reasons to trust a section less.
func cautions(s *results.Section) []string {
	var all []string
	if s.Run.Quick {
		all = append(all, "Measured on the smallest budget: it shows that the section runs; its figures mean nothing.")
	}
	if !s.Run.Quick && s.Run.Rounds < fewRounds {
		all = append(all, fmt.Sprintf("Only %d rounds: a full run has 7.", s.Run.Rounds))
	}
	if s.OthersPercent == nil {
		all = append(all, "It is not known what else the machine did.")
	} else if *s.OthersPercent >= busy {
		all = append(all, fmt.Sprintf("Other programs and virtual machines used %.0f %% of the machine: "+
			"trust only the processor time, and run again for the rest.", *s.OthersPercent))
	}
	if s.Run.Modified {
		all = append(all, "The files were not all those of the commit.")
	}
	if s.Run.Bootstrap != "" {
		all = append(all, "Another build of the agent was measured: "+s.Run.Bootstrap+".")
	}
	return all
}

// origin says in one sentence where the figures are from.
func origin(s *results.Section) string {
	r := s.Run
	text := fmt.Sprintf("Commit %s, %s, %s; %s", r.Commit, r.Date.Format("2 January 2006"), rounds(r.Rounds), place(r))
	if s.OthersPercent != nil {
		text += fmt.Sprintf("; others used %.0f %% of it", *s.OthersPercent)
	}
	if r.Quick {
		text += "; smallest budget: the figures mean nothing"
	}
	return text + "."
}

func rounds(n int) string {
	if n == 1 {
		return "1 round"
	}
	return fmt.Sprintf("%d rounds", n)
}

func place(r results.Run) string {
	kind := "machine"
	if r.Machine.Virtual {
		kind = "virtual machine"
	}
	return fmt.Sprintf("%s with %d CPUs (%s)", kind, r.Machine.CPUs, r.Machine.Processor)
}

// fact is a line of the page.
type fact struct{ Name, Text string }

// circumstances are the facts of a run.
func circumstances(r results.Run) []fact {
	m := r.Machine
	commit := r.Commit
	if r.Modified {
		commit += ", with changes"
	}
	var versions []string
	for _, name := range slices.Sorted(maps.Keys(r.Versions)) {
		versions = append(versions, name+" "+r.Versions[name])
	}
	facts := []fact{
		{"Commit", commit},
		{"Date", r.Date.UTC().Format("2 January 2006, 15:04 UTC")},
		{"Rounds", fmt.Sprint(r.Rounds)},
		{"Machine", fmt.Sprintf("%s, %s MB of memory", place(r), group(fmt.Sprint(m.MemoryMB)))},
		{"System", fmt.Sprintf("%s, Linux %s, %s", m.System, m.Kernel, m.Arch)},
		{"Versions", strings.Join(versions, ", ")},
		{"Scheduling", r.Scheduling},
	}
	if len(r.Load) == 3 {
		load := fmt.Sprintf("%.2f, %.2f, %.2f (1, 5, 15 minutes)", r.Load[0], r.Load[1], r.Load[2])
		facts = append(facts, fact{"Load before", load})
	}
	return facts
}

// targets counts the targets of sections, and those that are met.
func targets(sections []*results.Section) (met, all int) {
	for _, s := range sections {
		for _, r := range s.Rows {
			if r.Met == nil {
				continue
			}
			all++
			if *r.Met {
				met++
			}
		}
	}
	return met, all
}
