package auth

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"slices"
	"time"
)

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

// begin looks at the headers of a signed request (docs/COMPATIBILITY.md). What costs little comes first.
func (g *Gate) begin(d *directory, r *Request, header []byte) (*Entry, error) {
	a, err := parseAuthorization(string(header))
	if err != nil {
		return nil, unauthorized(err.Error())
	}
	date, err := g.checkDate(r)
	if err != nil {
		return nil, err
	}
	k := d.byAccess[a.access]
	if k == nil {
		return nil, unauthorized("Get secretKey failed,ak:" + a.access + ",err:ak not exist")
	}
	e := &Entry{gate: g, request: r, authorization: a, key: k, date: date}
	if err := e.checkLock(); err != nil {
		return nil, err
	}
	if e.payload, e.stated, err = g.payload(r, a); err != nil {
		return nil, err
	}
	if !e.stated { // the signature covers the body's own hash
		return e, nil
	}
	caller, err := e.verify()
	if err != nil {
		return nil, err
	}
	if e.payload == unsignedPayload {
		e.caller = caller
	}
	return e, nil
}

// checkDate returns the value of X-Sdk-Date if it is within the window.
func (g *Gate) checkDate(r *Request) (string, error) {
	values := r.Values(headerDate)
	if len(values) != 1 {
		return "", unauthorized("X-Sdk-Date is needed once, in the form YYYYMMDDTHHMMSSZ in UTC")
	}
	date := string(values[0])
	t, err := time.Parse(dateForm, date)
	if err != nil || len(date) != len(dateForm) {
		return "", unauthorized("X-Sdk-Date is not in the form YYYYMMDDTHHMMSSZ in UTC")
	}
	now := g.cfg.Now()
	if off := now.Sub(t); off > dateWindow || off < -dateWindow {
		return "", unauthorized(
			"X-Sdk-Date is off by more than " + dateWindow.String() + "; the time here is " + now.UTC().Format(dateForm),
		)
	}
	return date, nil
}

// payload returns the hash of the body as the caller stated it; stated is false if the hash is to be taken from the
// body.
func (g *Gate) payload(r *Request, a *authorization) (payload string, stated bool, err error) {
	values := r.Values(headerContentHash)
	switch {
	case len(values) > 1:
		return "", false, unauthorized("X-Sdk-Content-Sha256 is there more than once")
	case len(values) == 0:
		return "", false, nil
	case !slices.Contains(a.headers, headerContentHash):
		return "", false, unauthorized("X-Sdk-Content-Sha256 is not among the signed headers")
	}
	payload = string(values[0])
	if payload == unsignedPayload && !g.cfg.Secure {
		return "", false, unauthorized(
			"X-Sdk-Content-Sha256: " + unsignedPayload + " is taken over TLS or on loopback only; sign the body",
		)
	}
	return payload, true, nil
}

// checkTemporary checks what a temporary key needs beside its signature.
func (g *Gate) checkTemporary(k *key, r *Request, a *authorization) error {
	if !k.expiresAt.IsZero() && !g.cfg.Now().Before(k.expiresAt) {
		return unauthorized("the access key has expired")
	}
	if !k.temporary {
		return nil
	}
	if !slices.Contains(a.headers, headerSecurityToken) {
		return unauthorized("a temporary access key needs X-Security-Token among the signed headers")
	}
	if values := r.Values(headerSecurityToken); len(values) != 1 || !k.hasToken(values[0]) {
		return unauthorized("X-Security-Token is not that of the access key")
	}
	return nil
}

// matches compares the signature with that of each way clients may have meant the request: the strict alphabet of paths
// and queries first, then that of older Node SDKs; the Host as it came, then without a default port.
func (a *authorization) matches(r *Request, secret, date, payload string) bool {
	c := canonicals.Get().(*canonical)
	defer canonicals.Put(c)
	hosts := []string{""}
	if slices.Contains(a.headers, headerHost) {
		hosts = hostForms(r)
	}
	alphabets := []alphabet{strict}
	if bytes.ContainsAny(r.Path, laxExtra) || bytes.ContainsAny(r.Query, laxExtra) || bytes.IndexByte(r.Path, '%') >= 0 ||
		bytes.IndexByte(r.Query, '%') >= 0 {
		alphabets = []alphabet{strict, lax}
	}
	for _, alphabet := range alphabets {
		for _, host := range hosts {
			if !c.build(r, a, alphabet, host, payload) {
				return false
			}
			if mac := c.mac(secret, date); hmac.Equal(mac, a.mac[:]) {
				return true
			}
		}
	}
	return false
}
