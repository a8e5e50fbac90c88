package api

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"gantry/files"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"go.uber.org/zap"
)

// certificateInterval is how long a renewed certificate may go unnoticed.
const certificateInterval = 10 * time.Second

// maxCertificate bounds each of the two files, in bytes.
const maxCertificate = 1 << 20

// Certificate is a certificate and its key in files. Follow takes over renewed files; files that do not fit together
// leave the old pair in use.
type Certificate struct {
	cert, key string
	log       *zap.Logger
	pair      atomic.Pointer[tls.Certificate]

	// Follow's: what the files were when they were read last, and why they could not be, as it was logged last.
	version [2]time.Time
	failure string
}

// OpenCertificate reads the pair, in PEM.
func OpenCertificate(cert, key string, log *zap.Logger) (*Certificate, error) {
	c := &Certificate{cert: cert, key: key, log: log}
	type read struct {
		version [2]time.Time
		pair    *tls.Certificate
	}
	r, err := files.Within(cert+" and "+key, func() (read, error) {
		version := c.versions()
		pair, err := c.load()
		return read{version, pair}, err
	})
	if err != nil {
		return nil, fmt.Errorf("GANTRY_API_TLS_CERT, GANTRY_API_TLS_KEY: %w", err)
	}
	c.version = r.version
	c.pair.Store(r.pair)
	return c, nil
}

// load reads both files; it takes as long as their storage does.
func (c *Certificate) load() (*tls.Certificate, error) {
	cert, err := files.Load(c.cert, maxCertificate)
	if err != nil {
		return nil, err
	}
	key, err := files.Load(c.key, maxCertificate)
	if err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair(cert, key)
	return &pair, err
}

func (c *Certificate) versions() (version [2]time.Time) {
	for i, name := range []string{c.cert, c.key} {
		if info, err := os.Stat(name); err == nil {
			version[i] = info.ModTime()
		}
	}
	return version
}

// Follow takes renewed files over within 10 seconds, until ctx ends. The owner of the certificate runs it once.
func (c *Certificate) Follow(ctx context.Context) {
	w := &files.Watch{Interval: certificateInterval, Look: c.look, Hangs: func(since time.Duration) {
		c.log.Error(
			"the certificate's files cannot be read, their storage does not answer: the old certificate stays in use until it does",
			zap.Duration("since", since.Round(time.Second)),
		)
	}}
	w.Run(ctx)
}

// look reads the pair again if a file has changed. Files that cannot be used are reported once, and tried again when
// one of them changes; files that cannot be read are tried again at the next look.
func (c *Certificate) look() {
	version := c.versions()
	if version == c.version {
		return
	}
	pair, err := c.load()
	if err == nil {
		c.version, c.failure = version, ""
		c.pair.Store(pair)
		c.log.Info("certificate read again")
		return
	}
	if errno := syscall.Errno(0); !errors.As(err, &errno) {
		c.version = version
	}
	if c.version == version || err.Error() != c.failure {
		c.log.Error("the renewed certificate cannot be used: the old one stays in use", zap.Error(err))
	}
	c.failure = err.Error()
}

// get is asked at each handshake.
func (c *Certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) { return c.pair.Load(), nil }
