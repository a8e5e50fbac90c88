package auth

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
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

const (
	headerAuthorization = "authorization"
	headerToken         = "x-auth-token"
	headerDate          = "x-sdk-date"
	headerContentHash   = "x-sdk-content-sha256"
	headerSecurityToken = "x-security-token"
	headerHost          = "host"
)
