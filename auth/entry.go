package auth

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
)

// Entry is a request on its way in: its headers could be valid. A body may have to be read before the caller is known.
type Entry struct {
	caller *Caller // nil as long as it depends on the body

	gate          *Gate
	request       *Request
	authorization *authorization
	key           *key
	date          string
	// payload is the hash of the body as the caller signed it; stated says that it came as a header.
	payload string
	stated  bool
}

// Caller returns the caller if the headers alone authenticate it; otherwise nil, and Finish returns the caller.
func (e *Entry) Caller() *Caller { return e.caller }

// Finish returns the caller of a request with a body that has this SHA-256. It is not needed if Caller returned one.
func (e *Entry) Finish(sum [sha256.Size]byte) (*Caller, error) {
	if e.caller != nil {
		return e.caller, nil
	}
	text := hex.EncodeToString(sum[:])
	if !e.stated {
		if err := e.checkLock(); err != nil { // others may have failed meanwhile
			return nil, err
		}
		e.payload = text
		return e.verify()
	}
	if subtle.ConstantTimeCompare([]byte(text), []byte(e.payload)) == 0 {
		return nil, unauthorized("verify aksk signature fail: X-Sdk-Content-Sha256 is not the hash of the body")
	}
	return &Caller{user: e.key.user}, nil
}

// Check lets a caller in whose request is there with its body.
func (g *Gate) Check(r *Request) (*Caller, error) {
	e, err := g.Begin(r)
	if err != nil {
		return nil, err
	}
	if e.caller != nil {
		return e.caller, nil
	}
	return e.Finish(sha256.Sum256(r.Body))
}

func (e *Entry) checkLock() error {
	if e.gate.keys.locked(e.authorization.access, e.request.Peer) {
		return unauthorized(
			"AK access failed to reach the limit,forbidden: this access key is locked for this peer for " + lockTime.String(),
		)
	}
	return nil
}

// verify checks the signature, and then the key, for the payload that is known.
func (e *Entry) verify() (*Caller, error) {
	g, r, a := e.gate, e.request, e.authorization
	if !a.matches(r, e.key.secret(), e.date, e.payload) {
		g.keys.failed(a.access, r.Peer)
		return nil, unauthorized("verify aksk signature fail")
	}
	g.keys.succeeded(a.access, r.Peer)
	if err := g.checkTemporary(e.key, r, a); err != nil {
		return nil, err
	}
	return &Caller{user: e.key.user}, nil
}
