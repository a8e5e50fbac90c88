package auth

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

const (
	// algorithm is the only one accepted; it is the default of the platform's SDKs.
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
	errForm      = errors.New(
		"the Authorization header does not read " + algorithm + " Access=<AK>, SignedHeaders=<a;b>, Signature=<64 hexadecimal digits>",
	)
	errHeaders = errors.New("SignedHeaders is no list of lower-case header names that has x-sdk-date")
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
	if len(a.headers) > maxSignedHeaders || !slices.Contains(a.headers, headerDate) ||
		slices.ContainsFunc(a.headers, notLower) {
		return nil, errHeaders
	}
	return a, nil
}

func notLower(name string) bool {
	return name == "" ||
		strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r >= 0x7f || r >= 'A' && r <= 'Z' || r == ':' })
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

var errEscapes = errors.New("path or query has a % that begins no percent-encoding")

// Sign signs a request as the platform's SDKs do, with X-Sdk-Date as the only signed header. Path and query are as they
// go over the wire; Values is not called. It returns the values of X-Sdk-Date and Authorization.
func Sign(r *Request, access, secret string, now time.Time) (date, authorizationValue string, err error) {
	date = now.UTC().Format(dateForm)
	a := &authorization{headers: []string{headerDate}, list: headerDate}
	signed := Request{
		Method: r.Method,
		Path:   r.Path,
		Query:  r.Query,
		Values: func(string) [][]byte { return [][]byte{[]byte(date)} },
	}
	body := sha256.Sum256(r.Body)
	c := canonicals.Get().(*canonical)
	defer canonicals.Put(c)
	if !c.build(&signed, a, strict, "", hex.EncodeToString(body[:])) {
		return "", "", errEscapes
	}
	return date, fmt.Sprintf(
		"%s Access=%s, SignedHeaders=%s, Signature=%x",
		algorithm,
		access,
		headerDate,
		c.mac(secret, date),
	), nil
}
