// Command hang is a function that does not answer, in several ways.
package main

import (
	"context"
	"gantry/function"
	"math/rand"
	"net"
	"time"
)

func main() { function.Start(handle) }

func handle(_ context.Context, event struct{ Way, Addr string }) (any, error) {
	switch event.Way {
	case "busy":
		return spin(), nil
	case "sleep":
		rest()
	}
	return connect(event.Addr)
}

func spin() float64 {
	for sum := 0.0; ; {
		sum += rand.Float64()
		if sum < 0 {
			return sum
		}
	}
}

func rest() { time.Sleep(time.Hour) }

func connect(addr string) (byte, error) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return 0, err
	}
	b := make([]byte, 1)
	_, err = conn.Read(b)
	return b[0], err
}
