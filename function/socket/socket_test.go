package socket

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"
)

// pairs returns two connected sockets of every network that a Stream knows, and a pipe, which it leaves to itself.
func pairs(t *testing.T) map[string][2]net.Conn {
	t.Helper()
	all := map[string][2]net.Conn{}
	for network, address := range map[string]string{"tcp": "127.0.0.1:0", "unix": t.TempDir() + "/s"} {
		l, err := net.Listen(network, address)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		a, err := net.Dial(network, l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		b, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		all[network] = [2]net.Conn{a, b}
	}
	a, b := net.Pipe()
	all["pipe"] = [2]net.Conn{a, b}
	for _, ends := range all {
		for _, c := range ends {
			t.Cleanup(func() { _ = c.Close() })
		}
	}
	return all
}

func TestStreamCarriesPiecesOfEverySizeInOrder(t *testing.T) {
	for network, ends := range pairs(t) {
		t.Run(network, func(t *testing.T) {
			var want []byte
			var pieces [][]byte
			for i, size := range []int{1, 0, 100, most, most + 1, 5 << 20, 3} {
				piece := bytes.Repeat([]byte{byte(i + 1)}, size)
				pieces, want = append(pieces, piece), append(want, piece...)
			}
			failed := make(chan error, 1)
			go func() {
				s := New(ends[0])
				for _, p := range pieces {
					if n, err := s.Write(p); err != nil || n != len(p) {
						failed <- errors.Join(err, io.ErrShortWrite)
						return
					}
				}
				failed <- ends[0].Close()
			}()
			got, err := io.ReadAll(New(ends[1]))
			if err != nil {
				t.Fatal(err)
			}
			if err := <-failed; err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, want) {
				t.Errorf("read %d bytes that are not the %d written", len(got), len(want))
			}
		})
	}
}

func TestStreamGoesByTheDeadlinesOfItsConnection(t *testing.T) {
	for network, ends := range pairs(t) {
		t.Run(network, func(t *testing.T) {
			s := New(ends[0])
			if err := ends[0].SetReadDeadline(time.Now().Add(10 * time.Millisecond)); err != nil {
				t.Fatal(err)
			}
			if _, err := s.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("read without data: %v, want a deadline exceeded", err)
			}
			if err := ends[0].SetWriteDeadline(time.Now().Add(10 * time.Millisecond)); err != nil {
				t.Fatal(err)
			}
			var err error
			for err == nil { // until the buffers of the sockets are full
				_, err = s.Write(make([]byte, most))
			}
			if !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("write to a full socket: %v, want a deadline exceeded", err)
			}
		})
	}
}

func TestStreamEndsWithItsConnection(t *testing.T) {
	for network, ends := range pairs(t) {
		t.Run(network, func(t *testing.T) {
			s, ended := New(ends[0]), make(chan error, 1)
			go func() {
				_, err := s.Read(make([]byte, 1))
				ended <- err
			}()
			if err := ends[0].Close(); err != nil {
				t.Fatal(err)
			}
			if err := <-ended; !errors.Is(err, net.ErrClosed) && !errors.Is(err, io.ErrClosedPipe) {
				t.Errorf("read of a connection closed meanwhile: %v", err)
			}
			if _, err := s.Write([]byte("x")); !errors.Is(err, net.ErrClosed) && !errors.Is(err, io.ErrClosedPipe) {
				t.Errorf("write to a closed connection: %v", err)
			}
		})
	}
}

func TestStreamReportsErrorsOfTheSocketAsPackageNetDoes(t *testing.T) {
	ends := pairs(t)["unix"]
	if err := ends[1].Close(); err != nil {
		t.Fatal(err)
	}
	_, want := ends[0].Write([]byte("x"))
	_, err := New(ends[0]).Write([]byte("x"))
	var op *net.OpError
	if !errors.As(err, &op) || !errors.Is(err, syscall.EPIPE) || err.Error() != want.Error() {
		t.Errorf("write after the other side has left: %v, package net: %v", err, want)
	}
}
