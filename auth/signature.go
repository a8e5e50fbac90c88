package auth

import (
	"bytes"
	"cmp"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	// algorithm is the only one taken; the platform's SDKs use it unless told otherwise.
	algorithm = "SDK-HMAC-SHA256"
	// dateForm is that of X-Sdk-Date, in UTC.
	dateForm = "20060102T150405Z"
	// dateWindow is how far the caller's clock may be off.
	dateWindow       = 15 * time.Minute
	unsignedPayload  = "UNSIGNED-PAYLOAD"
	maxSignedHeaders = 64
)

// authorization is the value of the Authorization header, taken apart.
type authorization struct {
	access  string
	headers []string // as listed, in lower case
	list    string   // the same, as it came
	mac     [sha256.Size]byte
}

var (
	errAlgorithm = errors.New("the Authorization header does not begin with " + algorithm)
	errForm      = errors.New("the Authorization header does not read " + algorithm + " Access=<AK>, SignedHeaders=<a;b>, Signature=<64 hexadecimal digits>")
	errHeaders   = errors.New("SignedHeaders is no list of lower-case header names that has x-sdk-date")
)

// parseAuthorization takes the header apart; blanks around the commas are optional.
func parseAuthorization(value string) (*authorization, error) {
	rest, ok := strings.CutPrefix(value, algorithm)
	if !ok || rest == "" || rest[0] != ' ' {
		return nil, errAlgorithm
	}
	a := &authorization{}
	var signature string
	seen := 0
	for item := range strings.SplitSeq(rest, ",") {
		name, v, ok := strings.Cut(strings.TrimSpace(item), "=")
		switch {
		case ok && name == "Access" && seen&1 == 0:
			a.access, seen = v, seen|1
		case ok && name == "SignedHeaders" && seen&2 == 0:
			a.list, seen = v, seen|2
		case ok && name == "Signature" && seen&4 == 0:
			signature, seen = v, seen|4
		default:
			return nil, errForm
		}
	}
	if seen != 7 || a.access == "" || len(signature) != hex.EncodedLen(len(a.mac)) {
		return nil, errForm
	}
	if _, err := hex.Decode(a.mac[:], []byte(signature)); err != nil {
		return nil, errForm
	}
	a.headers = strings.Split(a.list, ";")
	if len(a.headers) > maxSignedHeaders || !slices.Contains(a.headers, headerDate) || slices.ContainsFunc(a.headers, notLower) {
		return nil, errHeaders
	}
	return a, nil
}

func notLower(name string) bool {
	return name == "" || strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r >= 0x7f || r >= 'A' && r <= 'Z' || r == ':' })
}

// verify lets the caller of a signed request in (docs/COMPATIBILITY.md). Whatever costs little comes first.
func (g *Gate) verify(d *directory, r *Request, header []byte) (*Caller, error) {
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
	if g.keys.locked(a.access, r.Peer) {
		return nil, unauthorized("AK access failed to reach the limit,forbidden: this access key is locked for this peer for " + lockTime.String())
	}
	payload, err := g.payload(r, a)
	if err != nil {
		return nil, err
	}
	if !a.matches(r, k.secret(), date, payload) {
		g.keys.failed(a.access, r.Peer)
		return nil, unauthorized("verify aksk signature fail")
	}
	g.keys.succeeded(a.access, r.Peer)
	if err := g.checkTemporary(k, r, a); err != nil {
		return nil, err
	}
	if err := g.checkPayload(r, payload); err != nil {
		return nil, err
	}
	return &Caller{user: k.user}, nil
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
		return "", unauthorized("X-Sdk-Date is off by more than " + dateWindow.String() + "; the time here is " + now.UTC().Format(dateForm))
	}
	return date, nil
}

// payload returns the hash of the body as the caller signed it: the header's, or that of the body.
func (g *Gate) payload(r *Request, a *authorization) (string, error) {
	values := r.Values(headerContentHash)
	switch {
	case len(values) > 1:
		return "", unauthorized("X-Sdk-Content-Sha256 is there more than once")
	case len(values) == 0:
		sum := sha256.Sum256(r.Body)
		return hex.EncodeToString(sum[:]), nil
	case !slices.Contains(a.headers, headerContentHash):
		return "", unauthorized("X-Sdk-Content-Sha256 is not among the signed headers")
	}
	payload := string(values[0])
	if payload == unsignedPayload && !g.cfg.Secure {
		return "", unauthorized("X-Sdk-Content-Sha256: " + unsignedPayload + " is taken over TLS or on loopback only; sign the body")
	}
	return payload, nil
}

// checkPayload holds a hash that came as a header against the body. It comes after the signature: it costs the most.
func (g *Gate) checkPayload(r *Request, payload string) error {
	if payload == unsignedPayload || len(r.Values(headerContentHash)) == 0 {
		return nil
	}
	sum := sha256.Sum256(r.Body)
	if subtle.ConstantTimeCompare([]byte(hex.EncodeToString(sum[:])), []byte(payload)) == 0 {
		return unauthorized("verify aksk signature fail: X-Sdk-Content-Sha256 is not the hash of the body")
	}
	return nil
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
	if bytes.ContainsAny(r.Path, laxExtra) || bytes.ContainsAny(r.Query, laxExtra) || bytes.IndexByte(r.Path, '%') >= 0 || bytes.IndexByte(r.Query, '%') >= 0 {
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

func hostForms(r *Request) []string {
	values := r.Values(headerHost)
	if len(values) != 1 {
		return nil
	}
	host := string(values[0])
	for _, port := range []string{":80", ":443"} {
		if bare, ok := strings.CutSuffix(host, port); ok {
			return []string{host, bare}
		}
	}
	return []string{host}
}

// alphabet is the set of bytes that stay as they are in a canonical path or query.
type alphabet *[256]bool

const (
	unreserved = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.~"
	laxExtra   = "!'()*"
)

var strict, lax = newAlphabet(unreserved), newAlphabet(unreserved + laxExtra)

func newAlphabet(chars string) alphabet {
	a := new([256]bool)
	for i := range len(chars) {
		a[chars[i]] = true
	}
	return a
}

var canonicals = sync.Pool{New: func() any { return new(canonical) }}

// canonical is the scratch memory of one canonical request.
type canonical struct {
	buf, scratch []byte
	pairs        []pair
	values       [][]byte
}

// pair is one name and value of a query, as spans of scratch, decoded.
type pair struct{ name, value []byte }

// build writes the canonical request; false if the request has no such form.
func (c *canonical) build(r *Request, a *authorization, alphabet alphabet, host, payload string) bool {
	c.buf = append(append(c.buf[:0], r.Method...), '\n')
	if !c.path(r.Path, alphabet) || !c.query(r.Query, alphabet) {
		return false
	}
	for _, name := range a.headers {
		c.values = c.values[:0]
		if name == headerHost {
			c.values = append(c.values, []byte(host))
		} else {
			c.values = append(c.values, r.Values(name)...)
		}
		if len(c.values) == 0 {
			return false
		}
		slices.SortFunc(c.values, bytes.Compare)
		for _, v := range c.values {
			c.buf = append(append(append(append(c.buf, name...), ':'), bytes.TrimSpace(v)...), '\n')
		}
	}
	c.buf = append(append(append(c.buf, '\n'), a.list...), '\n')
	c.buf = append(c.buf, payload...)
	return true
}

// path encodes every segment anew from its decoded form, and ends with a slash.
func (c *canonical) path(raw []byte, alphabet alphabet) bool {
	for segment := range bytes.SplitSeq(bytes.TrimPrefix(raw, []byte("/")), []byte("/")) {
		decoded, ok := decode(c.scratch[:0], segment)
		if !ok {
			return false
		}
		c.scratch = decoded
		c.buf = encode(append(c.buf, '/'), decoded, alphabet)
	}
	if c.buf[len(c.buf)-1] != '/' {
		c.buf = append(c.buf, '/')
	}
	c.buf = append(c.buf, '\n')
	return true
}

// query sorts the pairs by decoded name, then value, as the SDKs do. A pair without "=" has an empty value.
func (c *canonical) query(raw []byte, alphabet alphabet) bool {
	c.pairs = c.pairs[:0]
	c.scratch = slices.Grow(c.scratch[:0], len(raw)) // decoding never grows: the spans stay where they are
	for item := range bytes.SplitSeq(raw, []byte("&")) {
		if len(item) == 0 {
			continue
		}
		rawName, rawValue, _ := bytes.Cut(item, []byte("="))
		from := len(c.scratch)
		decoded, ok := decode(c.scratch, rawName)
		if !ok {
			return false
		}
		middle := len(decoded)
		if c.scratch, ok = decode(decoded, rawValue); !ok {
			return false
		}
		c.pairs = append(c.pairs, pair{c.scratch[from:middle], c.scratch[middle:]})
	}
	slices.SortStableFunc(c.pairs, func(a, b pair) int {
		return cmp.Or(bytes.Compare(a.name, b.name), bytes.Compare(a.value, b.value))
	})
	for i, p := range c.pairs {
		if i > 0 {
			c.buf = append(c.buf, '&')
		}
		c.buf = encode(append(encode(c.buf, p.name, alphabet), '='), p.value, alphabet)
	}
	c.buf = append(c.buf, '\n')
	return true
}

// mac is the signature of what build wrote.
func (c *canonical) mac(secret, date string) []byte {
	sum := sha256.Sum256(c.buf)
	c.buf = append(append(append(c.buf[:0], algorithm+"\n"...), date...), '\n')
	c.buf = hex.AppendEncode(c.buf, sum[:])
	mac := hmac.New(sha256.New, []byte(secret))
	_, _ = mac.Write(c.buf) // never fails
	c.buf = mac.Sum(c.buf[:0])
	return c.buf
}

// decode appends the percent-decoded form; a plus is a plus.
func decode(dst, src []byte) ([]byte, bool) {
	for i := 0; i < len(src); i++ {
		if src[i] != '%' {
			dst = append(dst, src[i])
			continue
		}
		if i+2 >= len(src) {
			return dst, false
		}
		high, low := digit(src[i+1]), digit(src[i+2])
		if high < 0 || low < 0 {
			return dst, false
		}
		dst = append(dst, byte(high<<4|low))
		i += 2
	}
	return dst, true
}

func digit(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c >= 'a' && c <= 'f':
		return int(c-'a') + 10
	case c >= 'A' && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}

func encode(dst, src []byte, alphabet alphabet) []byte {
	const digits = "0123456789ABCDEF"
	for _, b := range src {
		if alphabet[b] {
			dst = append(dst, b)
			continue
		}
		dst = append(dst, '%', digits[b>>4], digits[b&15])
	}
	return dst
}
