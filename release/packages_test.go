package main

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"gantry/test/harness"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// debian is a folder with a Debian of its own, into which packages are installed.
type debian struct {
	t    *testing.T
	root string
}

func newDebian(t *testing.T) *debian {
	t.Helper()
	needRoot(t)
	if _, err := exec.LookPath("debootstrap"); err != nil {
		t.Skipf("debootstrap is missing: %v", err)
	}
	base := strings.TrimSpace(run(t, exec.Command("../.ci/debian", "bookworm", "ca-certificates,python3")))
	d := &debian{t, t.TempDir()}
	require.NoError(t, os.Chmod(d.root, 0o755))
	run(t, exec.Command("tar", "-C", d.root, "-xf", base))
	return d
}

// inRoot is a command in another root folder, as a user, with a /proc and a /dev/null that end with it.
func inRoot(root, user string, args ...string) *exec.Cmd {
	const enter = `mount -t proc proc "$0/proc" && mount --bind /dev/null "$0/dev/null" && user=$1 && shift &&
		exec chroot --userspec="$user" "$0" "$@"`
	return exec.Command("unshare", append([]string{"--mount", "sh", "-c", enter, root, user}, args...)...)
}

// command runs a program of this Debian in it, as root.
func (d *debian) command(args ...string) *exec.Cmd {
	cmd := inRoot(d.root, "0:0", args...)
	cmd.Env = append(harness.Environ("/root"), "PATH=/usr/sbin:/usr/bin:/sbin:/bin")
	return cmd
}

// install installs a package of a release with dpkg.
func (d *debian) install(from, version string) {
	d.t.Helper()
	name := fmt.Sprintf("gantry_%s-1_%s.deb", version, runtime.GOARCH)
	data, err := os.ReadFile(filepath.Join(from, name))
	require.NoError(d.t, err)
	path := filepath.Join(d.root, "tmp", name)
	require.NoError(d.t, os.WriteFile(path, data, 0o600))
	run(d.t, d.command("dpkg", "-i", "/tmp/"+name))
	require.NoError(d.t, os.Remove(path))
}

// copyInto copies a code folder into the Debian.
func (d *debian) copyInto(folder, to string) {
	d.t.Helper()
	require.NoError(d.t, os.CopyFS(filepath.Join(d.root, to), os.DirFS(folder)))
}

// tree is all that lies below a folder, with modes and contents. What dpkg keeps about packages is left out.
func (d *debian) tree(below string) map[string]string {
	d.t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(filepath.Join(d.root, below), func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := strings.TrimPrefix(path, d.root)
		if name == "/var/lib/dpkg" || name == "/var/log" || name == "/dev" || name == "/proc" {
			return fs.SkipDir
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		all[name] = info.Mode().String()
		if info.Mode().IsRegular() {
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			all[name] += " " + digest(data)
		}
		return nil
	})
	require.NoError(d.t, err)
	return all
}

// serve starts an agent with a queue and returns the address of its asynchronous requests.
func (d *debian) serve() (p *harness.Program, url string) {
	cmd := d.command("/usr/bin/gantry", "serve", "--code", "/srv/hello", "--name", "hello", "--api-auth", "none")
	cmd.Env = append(cmd.Env, "GANTRY_API_ADDR=127.0.0.1:0")
	p = harness.Start(d.t, cmd)
	return p, "http://" + p.Listening()["platform"] + "/v2/" + strings.Repeat("0", 32) + "/fgs/functions/hello/"
}

// ask makes one request and returns the answer's body.
func ask(t *testing.T, method, url, body string) string {
	t.Helper()
	request, err := http.NewRequest(method, url, strings.NewReader(body))
	require.NoError(t, err)
	answer, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	require.NoError(t, err)
	return string(text)
}

// TestDebianPackageKeepsDataThroughUpgradeAndRemoval: installed, used with a queue, upgraded, removed and purged. Users'
// files are the same afterwards, and nothing of the package is left.
func TestDebianPackageKeepsDataThroughUpgradeAndRemoval(t *testing.T) {
	t.Parallel()
	d := newDebian(t)
	d.copyInto(customRuntime(t, runtime.GOARCH, "bootstrap"), "srv/hello")
	other := filepath.Join(d.root, "usr/bin/bootstrap") // another program's
	require.NoError(t, os.WriteFile(other, []byte("#!/bin/sh\n"), 0o755))
	require.NoError(t, os.MkdirAll(filepath.Join(d.root, "root/gantry"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(d.root, "root/gantry/settings"), []byte("mine"), 0o600))
	before := d.tree("/")

	d.install(dist, version)
	require.Contains(t, run(t, d.command("/usr/bin/gantry", "version")), "gantry 1.2.3 (0123abc, ")
	require.Contains(t, run(t, d.command("/usr/lib/gantry/bootstrap", "version")), "bootstrap 1.2.3 (0123abc, ")
	result := run(t, d.command("/usr/bin/gantry", "invoke", "--code", "/srv/hello", "--event", `{"name":"Debian"}`))
	require.Contains(t, result, "Hello, Debian")

	p, url := d.serve()
	var accepted struct {
		ID string `json:"request_id"`
	}
	require.NoError(t, json.Unmarshal([]byte(ask(t, "POST", url+"invocations-async", `{"name":"later"}`)), &accepted))
	succeeded := func() bool {
		return strings.Contains(ask(t, "GET", url+"async-invocations?request_id="+accepted.ID, ""), "SUCCESS")
	}
	harness.Eventually(t, succeeded, "the asynchronous request to succeed")
	p.Stop()
	data := d.tree("/var/lib/gantry")
	require.Greater(t, len(data), 5, "the queue is in its default folder")

	d.install(upgrade, newer)
	require.Equal(t, data, d.tree("/var/lib/gantry"))
	require.Contains(t, run(t, d.command("/usr/bin/gantry", "version")), "gantry 1.3.0 (")
	p, url = d.serve()
	harness.Eventually(t, succeeded, "the newer version to list the request")
	p.Stop()
	data = d.tree("/var/lib/gantry")

	run(t, d.command("dpkg", "--remove", "gantry"))
	require.Equal(t, data, d.tree("/var/lib/gantry"))
	run(t, d.command("dpkg", "--purge", "gantry"))
	after := d.tree("/")
	for name := range data {
		require.Contains(t, after, name)
		delete(after, name)
	}
	require.Equal(t, before, after)
}

// TestDebianPackageHasItsFilesAndNoScripts reads the package back with dpkg.
func TestDebianPackageHasItsFilesAndNoScripts(t *testing.T) {
	for _, arch := range []string{"amd64", "arm64"} {
		path := filepath.Join(dist, "gantry_1.2.3-1_"+arch+".deb")
		all := entries(t, []byte(run(t, exec.Command("dpkg-deb", "--fsys-tarfile", path))))
		for name, mode := range map[string]int64{
			"./usr/bin/gantry": 0o755, "./usr/bin/gantry-jetstream": 0o755, "./usr/share/doc/gantry/copyright": 0o644,
			"./usr/share/doc/gantry/docs/INSTALL.md": 0o644, "./usr/share/bash-completion/completions/gantry": 0o644,
			"./usr/lib/gantry/gantry-java.jar": 0o644, "./usr/share/zsh/vendor-completions/_gantry": 0o644, "./usr/share/fish/vendor_completions.d/gantry.fish": 0o644,
		} {
			require.Contains(t, all, name)
			require.Equal(t, mode, all[name].Mode, name)
		}
		require.Equal(t, "../../bin/gantry", all["./usr/lib/gantry/bootstrap"].Linkname)
		require.NotContains(t, all, "./usr/bin/bootstrap", "it would be in the way of another package's")
		copyright := all["./usr/share/doc/gantry/copyright"].data
		require.True(t, bytes.Contains(copyright, readDist(t, licencesName)))
		for name, e := range all {
			require.True(t, e.ModTime.Equal(at), name)
			require.Equal(t, []int{0, 0}, []int{e.Uid, e.Gid}, name)
			require.True(t, name == "./" || strings.HasPrefix(name, "./usr/"), "%s: nothing outside /usr", name)
		}
		control := run(t, exec.Command("dpkg-deb", "--info", path))
		for _, line := range []string{"Package: gantry", "Version: 1.2.3-1", "Architecture: " + arch, "Recommends: nodejs", "Suggests: python3, default-jre-headless, php-cli"} {
			require.Contains(t, control, " "+line+"\n")
		}
		require.NotRegexp(t, "(pre|post)(inst|rm)|conffiles", control)
	}
}

// TestRPMHasItsFilesAndNoScripts reads the package back with rpm, which also checks its digests.
func TestRPMHasItsFilesAndNoScripts(t *testing.T) {
	if _, err := exec.LookPath("rpm"); err != nil {
		t.Skipf("rpm is missing: %v", err)
	}
	for arch, name := range map[string]string{"amd64": "x86_64", "arm64": "aarch64"} {
		path := filepath.Join(dist, "gantry-1.2.3-1."+name+".rpm")
		query := func(format string) string {
			return run(t, exec.Command("rpm", "--query", "--package", "--queryformat", format, path))
		}
		require.Contains(t, run(t, exec.Command("rpm", "--checksig", "--nosignature", path)), "digests OK")
		require.Equal(t, "gantry 1.2.3 1 "+name+" linux Apache-2.0 localhost 1700000000",
			query("%{NAME} %{VERSION} %{RELEASE} %{ARCH} %{OS} %{LICENSE} %{BUILDHOST} %{BUILDTIME}"))
		require.Equal(t, "nodejs python3 java-headless php-cli ", query("[%{RECOMMENDNAME} ][%{SUGGESTNAME} ]"))
		require.Empty(t, run(t, exec.Command("rpm", "--query", "--package", "--scripts", path)))
		files := map[string]string{}
		for line := range strings.Lines(query("[%{FILENAMES} %{FILEMODES:octal} %{FILEUSERNAME} %{FILEMTIMES} %{FILEDIGESTS} %{FILELINKTOS}\n]")) {
			path, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
			files[path] = rest
			require.True(t, strings.HasPrefix(path, "/usr/"), "%s: nothing outside /usr", path)
		}
		all := entries(t, unzipped(t, "gantry-1.2.3-linux-"+arch+".tar.gz"))
		for _, program := range []string{"gantry", "gantry-jetstream"} {
			digest := digest(all["gantry-1.2.3-linux-"+arch+"/"+program].data)
			require.Equal(t, "100755 root 1700000000 "+digest, files["/usr/bin/"+program])
		}
		require.Contains(t, files["/usr/lib/gantry/bootstrap"], "../../bin/gantry")
		require.Contains(t, files["/usr/share/doc/gantry/"+licencesName], "100644 root 1700000000 ")
		require.Contains(t, files, "/usr/share/zsh/site-functions/_gantry")
		require.Equal(t, "100644 root 1700000000 "+digest(all["gantry-1.2.3-linux-"+arch+"/"+javaWorker].data), files["/usr/lib/gantry/"+javaWorker])
		require.NotContains(t, files, "/usr/bin/bootstrap")
	}
}

// TestManualPagesAndCompletionLieWhereEachSystemLooks: manual pages are compressed, as both policies want them.
func TestManualPagesAndCompletionLieWhereEachSystemLooks(t *testing.T) {
	r := newRelease("..", t.TempDir())
	r.programs = map[string][]file{"amd64": nil}
	r.texts = []file{{path: "README.md"}, {path: "LICENSE"}, {path: licencesName}}
	r.extras = []file{
		{path: "share/man/man1/gantry.1", mode: 0o644, data: []byte(".TH GANTRY 1\n")},
		{path: "share/zsh/site-functions/_gantry", mode: 0o644},
	}
	for format, zsh := range map[string]string{"deb": "vendor-completions", "rpm": "site-functions"} {
		files, err := r.packed("amd64", format)
		require.NoError(t, err)
		require.NotEmpty(t, find(files, "usr/share/zsh/"+zsh+"/_gantry"))
		unzip, err := gzip.NewReader(bytes.NewReader(find(files, "usr/share/man/man1/gantry.1.gz").data))
		require.NoError(t, err)
		page, err := io.ReadAll(unzip)
		require.NoError(t, err)
		require.Equal(t, ".TH GANTRY 1\n", string(page))
	}
}

// TestExtrasOfAnOlderGantryAreLeftOut: a command that is missing is no error, one that fails is.
func TestExtrasOfAnOlderGantryAreLeftOut(t *testing.T) {
	gantry := filepath.Join(t.TempDir(), "gantry")
	script := `#!/bin/sh
case $1 in
  one) echo page ;;
  several) echo page > "$2/a.1" ;;
  empty) ;;
  failing) echo "no room" >&2; exit 1 ;;
  *) echo "gantry: unknown command \"$1\"" >&2; exit 2 ;;
esac
`
	require.NoError(t, os.WriteFile(gantry, []byte(script), 0o700))
	made := func(args ...string) ([]file, error) {
		e := extra{path: "share/x", args: args}
		return e.make(gantry, t.TempDir())
	}
	files, err := made("one")
	require.NoError(t, err)
	require.Equal(t, []file{{path: "share/x", mode: 0o644, data: []byte("page\n")}}, files)
	files, err = made("several", "DIR")
	require.NoError(t, err)
	require.Equal(t, []file{{path: "share/x/a.1", mode: 0o644, data: []byte("page\n")}}, files)
	files, err = made("missing", "DIR")
	require.NoError(t, err)
	require.Empty(t, files)
	_, err = made("empty", "DIR")
	require.ErrorContains(t, err, "empty DIR wrote nothing")
	_, err = made("failing")
	require.ErrorContains(t, err, "no room")
}
