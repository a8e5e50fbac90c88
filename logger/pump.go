package logger

import "io"

// Pump reads output until it ends and hands it on in parts of lines. It never stops reading, whatever emit's sink does:
// emit must not block. A last line without an ending is flushed. Returns when src ends or is closed.
func Pump(src io.Reader, emit func(Part)) {
	buf := make([]byte, 32<<10)
	var lines Assembler
	for {
		n, err := src.Read(buf)
		lines.Write(buf[:n], emit)
		if err != nil {
			lines.Flush(emit)
			return
		}
	}
}
