package auth

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"time"
)

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
