package api

import "sync/atomic"

// stage says what a connection is doing; it decides whether the connection may be closed for another one.
type stage int32

const (
	stageSilent   stage = iota // accepted, and nothing has arrived
	stageArriving              // a request arrives
	stageBusy                  // a request is being answered
	stageIdle                  // between two requests
	stageEvicted               // given up for other connections; it ends with its next read
)

type stage32 struct{ v atomic.Int32 }

func (s *stage32) load() stage { return stage(s.v.Load()) }

func (s *stage32) change(from, to stage) bool {
	return s.v.CompareAndSwap(int32(from), int32(to))
}
