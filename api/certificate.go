package api

import (
	"crypto/tls"
	"fmt"
	"os"
	"sync"
	"time"

	"go.uber.org/zap"
)

// certificateInterval is how long a renewed certificate may go unnoticed.
const certificateInterval = 10 * time.Second

// Certificate is a certificate and its key in files. It follows them when they are renewed; files that do not fit
// together leave the old pair in use.
type Certificate struct {
	cert, key string
	log       *zap.Logger
	now       func() time.Time

	mu      sync.Mutex
	pair    *tls.Certificate
	checked time.Time
	version [2]time.Time
}

// OpenCertificate reads the pair, in PEM.
func OpenCertificate(cert, key string, log *zap.Logger) (*Certificate, error) {
	c := &Certificate{cert: cert, key: key, log: log, now: time.Now, checked: time.Now()}
	c.version = c.look()
	return c, c.load()
}

func (c *Certificate) load() error {
	pair, err := tls.LoadX509KeyPair(c.cert, c.key)
	if err != nil {
		return fmt.Errorf("GANTRY_API_TLS_CERT, GANTRY_API_TLS_KEY: %w", err)
	}
	c.pair = &pair
	return nil
}

func (c *Certificate) look() (version [2]time.Time) {
	for i, name := range []string{c.cert, c.key} {
		if info, err := os.Stat(name); err == nil {
			version[i] = info.ModTime()
		}
	}
	return version
}

// get is asked at each handshake.
func (c *Certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := c.now(); now.Sub(c.checked) >= certificateInterval {
		c.checked = now
		if version := c.look(); version != c.version {
			c.version = version
			if err := c.load(); err != nil {
				c.log.Error("the renewed certificate cannot be used: the old one stays", zap.Error(err))
			} else {
				c.log.Info("certificate read again")
			}
		}
	}
	return c.pair, nil
}
