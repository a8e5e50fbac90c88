package gateway

import (
	"context"
	"errors"
	"fmt"
	"gantry/test/harness"
	"io"
	"io/fs"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const (
	access = "AKCI0000000000000001"
	bucket = "outcomes"
)

// gateway is one S3 gateway with its own port and keys. Its folders outlive its process.
type gateway struct {
	t                    *testing.T
	host, port           string
	region, secret       string
	folder, objects      string
	certificate, private string // files; empty for plain HTTP
	proc                 *harness.Program
	client               *s3.Client
}

// newGateway prepares a gateway. Its secret is its own: any other server on the port rejects it.
func newGateway(t *testing.T) *gateway {
	t.Helper()
	g := &gateway{t: t, host: "127.0.0.1", port: freePort(t), region: "local-1", secret: fmt.Sprintf("SK%038x", rand.Uint64()), folder: t.TempDir()}
	g.objects = filepath.Join(g.folder, "objects")
	return g
}

// startGateway starts a gateway and makes the buckets.
func startGateway(t *testing.T, buckets ...string) *gateway {
	t.Helper()
	g := newGateway(t)
	g.start()
	for _, name := range buckets {
		g.create(name)
	}
	return g
}

// in returns the gateway for a subtest.
func (g *gateway) in(t *testing.T) *gateway {
	copied := *g
	copied.t = t
	return &copied
}

func (g *gateway) addr() string { return net.JoinHostPort(g.host, g.port) }

func (g *gateway) url() string {
	if g.certificate != "" {
		return "https://" + g.addr()
	}
	return "http://" + g.addr()
}

// endpoint is the gateway as an endpoint of the agent, with the right keys.
func (g *gateway) endpoint() map[string]string {
	return map[string]string{"url": g.url(), "access": access, "secret": g.secret, "region": g.region}
}

// start runs the program and waits until it accepts the client; again after end, then with the same port and folders.
func (g *gateway) start() {
	g.t.Helper()
	// Attributes are files beside the objects: not every temporary folder supports extended ones.
	attributes, users := filepath.Join(g.folder, "attributes"), filepath.Join(g.folder, "users")
	for _, folder := range []string{g.objects, attributes, users} {
		require.NoError(g.t, os.MkdirAll(folder, 0o755))
	}
	arguments := []string{"--port", g.addr(), "--region", g.region, "--keep-alive", "--iam-dir", users}
	if g.certificate != "" {
		arguments = append(arguments, "--cert", g.certificate, "--key", g.private)
	}
	cmd := exec.Command(harness.Built(g.t, ".cache/versitygw", "test-gateway"), append(arguments, "posix", "--sidecar", attributes, g.objects)...)
	cmd.Env = []string{"ROOT_ACCESS_KEY=" + access, "ROOT_SECRET_KEY=" + g.secret, "HOME=" + g.folder}
	g.proc, g.client = harness.Start(g.t, cmd), g.newClient()
	require.Eventually(g.t, func() bool {
		_, err := g.client.ListBuckets(g.t.Context(), &s3.ListBucketsInput{})
		return err == nil || g.proc.Over()
	}, patience, often)
	require.False(g.t, g.proc.Over(), "the gateway ended:\n%s%s", g.proc.Stdout, g.proc.Stderr)
}

func (g *gateway) newClient() *s3.Client {
	return s3.New(s3.Options{
		BaseEndpoint: aws.String(g.url()), Region: g.region, UsePathStyle: true, Retryer: aws.NopRetryer{},
		Credentials: credentials.NewStaticCredentialsProvider(access, g.secret, ""), HTTPClient: &http.Client{Timeout: patience, Transport: transport(g.t, g.certificate)},
	})
}

func (g *gateway) create(name string) {
	g.t.Helper()
	_, err := g.client.CreateBucket(g.t.Context(), &s3.CreateBucketInput{Bucket: &name})
	require.NoError(g.t, err)
}

// object is the object under a key.
type object struct {
	text string
	head *s3.GetObjectOutput
}

// object waits until there is an object under the key.
func (g *gateway) object(bucket, key string) (o object) {
	g.t.Helper()
	eventually(g.t, func(c *assert.CollectT) {
		var err error
		o.head, err = g.client.GetObject(context.Background(), &s3.GetObjectInput{Bucket: &bucket, Key: &key})
		require.NoError(c, err)
		defer o.head.Body.Close()
		text, err := io.ReadAll(o.head.Body)
		require.NoError(c, err)
		o.text = string(text)
	})
	return o
}

// missing requires that there is no object under the key now.
func (g *gateway) missing(bucket, key string) {
	g.t.Helper()
	_, err := g.client.HeadObject(g.t.Context(), &s3.HeadObjectInput{Bucket: &bucket, Key: &key})
	var missing *types.NotFound
	require.True(g.t, errors.As(err, &missing), "%s: %v", key, err)
}

// keys lists the keys of the bucket.
func (g *gateway) keys(bucket string) (keys []string) {
	g.t.Helper()
	pages := s3.NewListObjectsV2Paginator(g.client, &s3.ListObjectsV2Input{Bucket: &bucket})
	for pages.HasMorePages() {
		page, err := pages.NextPage(g.t.Context())
		require.NoError(g.t, err)
		for _, o := range page.Contents {
			keys = append(keys, *o.Key)
		}
	}
	return keys
}

// stored counts the objects of a bucket on the disk, also while the gateway is down.
func (g *gateway) stored(bucket string) (n int) {
	_ = filepath.WalkDir(filepath.Join(g.objects, bucket), func(path string, _ fs.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(path, ".json") { // what vanished was a temporary file
			n++
		}
		return nil
	})
	return n
}

// freePort returns a port outside the kernel's ephemeral range, so that a gateway that is down gets it back.
func freePort(t *testing.T) string {
	t.Helper()
	for range 100 {
		listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", 20000+rand.IntN(12000)))
		if err == nil {
			defer listener.Close()
			_, port, err := net.SplitHostPort(listener.Addr().String())
			require.NoError(t, err)
			return port
		}
	}
	t.Fatal("no free port")
	return ""
}
