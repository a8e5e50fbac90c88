package main

import (
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// machine is what all CPUs did since boot.
type machine struct {
	capacity, busy, stolen time.Duration // all time; time in programs; time the hypervisor took
	ours                   time.Duration // of busy, this program and the children that it has waited for
}

func readMachine() machine {
	stat, _ := os.ReadFile("/proc/stat") // without it the row says NaN
	line, _, _ := strings.Cut(string(stat), "\n")
	var m machine
	for i, field := range strings.Fields(line) { // cpu user nice system idle iowait irq softirq steal …
		ticks, _ := strconv.Atoi(field)
		t := time.Duration(ticks) * clockTick
		switch i {
		case 1, 2, 3:
			m.busy += t
		case 8:
			m.stolen = t
		}
		if i >= 1 && i <= 8 { // the rest is part of user and nice
			m.capacity += t
		}
	}
	for _, who := range []int{syscall.RUSAGE_SELF, syscall.RUSAGE_CHILDREN} {
		var u syscall.Rusage
		_ = syscall.Getrusage(who, &u) // cannot fail with these arguments
		m.ours += time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	return m
}

// others returns the share of the machine that other programs and the hypervisor used since before, in per cent. The
// kernel counts the machine in clock ticks, at which a process that just slept is not seen, and processes exactly:
// where this program was nearly alone the difference can be below zero, which means zero.
func (m machine) others(before machine) float64 {
	used := m.busy - before.busy - (m.ours - before.ours) + m.stolen - before.stolen
	return max(0, 100*float64(used)/float64(m.capacity-before.capacity))
}
