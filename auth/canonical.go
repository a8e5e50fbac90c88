package auth

import (
	"bytes"
	"cmp"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"sync"
)

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
