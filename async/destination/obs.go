package destination

import (
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/url"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/valyala/fasthttp"
)

// bucket is OBS, or any service with S3's PutObject.
type bucket struct{}

func (bucket) check(p *param) error {
	if p.Expires < 0 || p.Expires > 365 {
		return fmt.Errorf(": expires is %d, want 0 to 365 days", p.Expires)
	}
	return cmp.Or(needs(OBS, "bucket", p.Bucket), checkName("bucket", p.Bucket, maxBucket), checkPrefix(p.Prefix))
}

func (bucket) endpoint(e *Endpoints) *Endpoint { return &e.OBS }

func (bucket) file(s *Sender, p *param, m *Message) string {
	return path.Join(p.Bucket, s.objectName(p, m))
}

func (bucket) chosen(p *param) string { return p.Prefix }

func (bucket) deliver(ctx context.Context, s *Sender, endpoint *Endpoint, p *param, m *Message) error {
	return s.putObject(ctx, endpoint, p, s.objectName(p, m), m.Text)
}

// objectName is where an outcome lies in its bucket; the platform publishes no layout (docs/COMPATIBILITY.md).
func (s *Sender) objectName(p *param, m *Message) string {
	return strings.TrimPrefix(
		path.Join("/"+p.Prefix, s.Function.Name, m.Accepted.Format("2006/01/02"), m.RequestID+".json"),
		"/",
	)
}

// putObject is S3's PutObject, with a signature of version 4; OBS takes it as well.
func (s *Sender) putObject(ctx context.Context, endpoint *Endpoint, p *param, name string, text []byte) error {
	base, err := url.Parse(endpoint.URL)
	if err != nil {
		return err
	}
	path := strings.TrimSuffix(base.EscapedPath(), "/") + "/" + escapePath(p.Bucket+"/"+name)
	now := s.Now().UTC()
	header := map[string]string{
		"Content-Type":         "application/json",
		"X-Amz-Date":           now.Format("20060102T150405Z"),
		"X-Amz-Content-Sha256": hash(text),
	}
	if p.Expires > 0 {
		header["X-Obs-Expires"] = strconv.Itoa(p.Expires)
	}
	if endpoint.Access != "" {
		// the client sends the host in small letters
		header["Authorization"] = signV4(endpoint, strings.ToLower(base.Host), path, header, now)
	}
	_, err = exchange(ctx, fasthttp.MethodPut, base.Scheme+"://"+base.Host+path, header, text)
	return err
}

// escapePath encodes as S3 signs: everything but the unreserved characters and slashes.
func escapePath(s string) string {
	var b strings.Builder
	for _, c := range []byte(s) {
		if c == '/' || c == '-' || c == '_' || c == '.' || c == '~' || c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' ||
			c >= 'a' && c <= 'z' {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}

// signV4 is the Authorization of a PUT by AWS's signature version 4.
func signV4(endpoint *Endpoint, host, path string, header map[string]string, now time.Time) string {
	region := endpoint.Region
	if region == "" {
		region = "us-east-1"
	}
	const signed = "host;x-amz-content-sha256;x-amz-date"
	canonical := strings.Join([]string{
		"PUT",
		path,
		"",
		"host:" + host,
		"x-amz-content-sha256:" + header["X-Amz-Content-Sha256"],
		"x-amz-date:" + header["X-Amz-Date"],
		"",
		signed,
		header["X-Amz-Content-Sha256"],
	}, "\n")
	scope := strings.Join([]string{now.Format("20060102"), region, "s3", "aws4_request"}, "/")
	k := []byte("AWS4" + endpoint.Secret)
	for _, part := range strings.Split(scope, "/") {
		k = keyed(k, part)
	}
	text := strings.Join([]string{"AWS4-HMAC-SHA256", header["X-Amz-Date"], scope, hash([]byte(canonical))}, "\n")
	return fmt.Sprintf(
		"AWS4-HMAC-SHA256 Credential=%s/%s, SignedHeaders=%s, Signature=%s",
		endpoint.Access,
		scope,
		signed,
		hex.EncodeToString(keyed(k, text)),
	)
}

func keyed(k []byte, text string) []byte {
	mac := hmac.New(sha256.New, k)
	_, _ = mac.Write([]byte(text)) // never fails
	return mac.Sum(nil)
}

func hash(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}
