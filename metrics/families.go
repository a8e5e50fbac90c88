package metrics

import (
	"fmt"
	"io"
)

// metricType is a type of the exposition format.
type metricType string

const (
	counter   metricType = "counter"
	gauge     metricType = "gauge"
	histogram metricType = "histogram"
	summary   metricType = "summary"
	// untyped is for names that a counter or gauge should not have, and that stay because dashboards use them.
	untyped metricType = "untyped"
)

// family is what the samples of one name have in common.
type family struct {
	t    metricType
	help string // one line
}

// write writes the two lines before the samples of a family.
func (f family) write(w io.Writer, name string) {
	fmt.Fprintf(w, "# HELP %s %s\n# TYPE %s %s\n", name, f.help, name, f.t)
}

// Family writes the two lines before the samples of a gauge that is written elsewhere. For the ops listener.
func Family(w io.Writer, name, help string) { family{gauge, help}.write(w, name) }

// libraryFamilies are those of the process and of the Go runtime, which the library writes without their types.
var libraryFamilies = map[string]family{
	"go_cgo_calls_count":                  {untyped, "Calls from Go to C."},
	"go_cpu_count":                        {untyped, "Processors that the process may use."},
	"go_gc_cpu_seconds_total":             {counter, "Processor time of the garbage collector."},
	"go_gc_duration_seconds":              {summary, "Pauses of garbage collections."},
	"go_gc_forced_count":                  {untyped, "Garbage collections that the program asked for."},
	"go_gc_mark_assist_cpu_seconds_total": {counter, "Processor time of goroutines that helped the garbage collector."},
	"go_gc_pauses_seconds":                {histogram, "Pauses of garbage collections."},
	"go_gomaxprocs":                       {gauge, "GOMAXPROCS."},
	"go_goroutines":                       {gauge, "Goroutines."},
	"go_info":                             {gauge, "Version of Go; the value is 1."},
	"go_info_ext":                         {gauge, "Compiler and platform; the value is 1."},
	"go_memlimit_bytes":                   {gauge, "GOMEMLIMIT."},
	"go_memstats_alloc_bytes":             {gauge, "Memory of objects in use."},
	"go_memstats_alloc_bytes_total":       {counter, "Memory allocated for objects."},
	"go_memstats_buck_hash_sys_bytes":     {gauge, "Memory of the profiler's tables."},
	"go_memstats_frees_total":             {counter, "Objects freed."},
	"go_memstats_gc_cpu_fraction": {
		gauge,
		"Share of processor time that the garbage collector took since the start.",
	},
	"go_memstats_gc_sys_bytes":               {gauge, "Memory of the garbage collector."},
	"go_memstats_heap_alloc_bytes":           {gauge, "Memory of objects in use on the heap."},
	"go_memstats_heap_idle_bytes":            {gauge, "Memory of the heap that is not in use."},
	"go_memstats_heap_inuse_bytes":           {gauge, "Memory of the heap that is in use."},
	"go_memstats_heap_objects":               {gauge, "Objects on the heap."},
	"go_memstats_heap_released_bytes":        {gauge, "Memory of the heap that was given back to the kernel."},
	"go_memstats_heap_sys_bytes":             {gauge, "Memory of the heap."},
	"go_memstats_last_gc_time_seconds":       {gauge, "Unix time of the latest garbage collection."},
	"go_memstats_lookups_total":              {counter, "Pointer lookups."},
	"go_memstats_mallocs_total":              {counter, "Objects allocated."},
	"go_memstats_mcache_inuse_bytes":         {gauge, "Memory of mcache structures in use."},
	"go_memstats_mcache_sys_bytes":           {gauge, "Memory of mcache structures."},
	"go_memstats_mspan_inuse_bytes":          {gauge, "Memory of mspan structures in use."},
	"go_memstats_mspan_sys_bytes":            {gauge, "Memory of mspan structures."},
	"go_memstats_next_gc_bytes":              {gauge, "Size of the heap at which the next garbage collection begins."},
	"go_memstats_other_sys_bytes":            {gauge, "Other memory of the runtime."},
	"go_memstats_stack_inuse_bytes":          {gauge, "Memory of stacks in use."},
	"go_memstats_stack_sys_bytes":            {gauge, "Memory of stacks."},
	"go_memstats_sys_bytes":                  {gauge, "Memory that the runtime has from the kernel."},
	"go_mutex_wait_seconds_total":            {counter, "Time that goroutines waited for locks."},
	"go_scavenge_cpu_seconds_total":          {counter, "Processor time spent to give memory back to the kernel."},
	"go_sched_latencies_seconds":             {histogram, "Time that goroutines waited for a processor."},
	"go_threads":                             {gauge, "Threads of the runtime."},
	"process_cpu_seconds_system_total":       {counter, "Processor time in the kernel."},
	"process_cpu_seconds_total":              {counter, "Processor time."},
	"process_cpu_seconds_user_total":         {counter, "Processor time outside of the kernel."},
	"process_io_read_bytes_total":            {counter, "Bytes read by system calls."},
	"process_io_read_syscalls_total":         {counter, "System calls that read."},
	"process_io_storage_read_bytes_total":    {counter, "Bytes read from storage."},
	"process_io_storage_written_bytes_total": {counter, "Bytes written to storage."},
	"process_io_write_syscalls_total":        {counter, "System calls that write."},
	"process_io_written_bytes_total":         {counter, "Bytes written by system calls."},
	"process_major_pagefaults_total":         {counter, "Page faults that read from storage."},
	"process_max_fds":                        {gauge, "Most descriptors that the process may have."},
	"process_minor_pagefaults_total":         {counter, "Page faults that read nothing from storage."},
	"process_num_threads":                    {gauge, "Threads of the process."},
	"process_open_fds":                       {gauge, "Descriptors of the process."},
	"process_resident_memory_anon_bytes":     {gauge, "Resident anonymous memory."},
	"process_resident_memory_bytes":          {gauge, "Resident memory."},
	"process_resident_memory_file_bytes":     {gauge, "Resident memory of files."},
	"process_resident_memory_peak_bytes":     {gauge, "Most resident memory so far."},
	"process_resident_memory_shared_bytes":   {gauge, "Resident shared memory."},
	"process_start_time_seconds":             {gauge, "Unix time of the start."},
	"process_virtual_memory_bytes":           {gauge, "Virtual memory."},
	"process_virtual_memory_peak_bytes":      {gauge, "Most virtual memory so far."},
}
