package auth

import (
	"bytes"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"
)

const (
	maxFile       = 4 << 20
	minSecret     = 32
	minKey        = 16
	minPassword   = 8
	defaultDomain = "local"
)

// directory is the users file, checked and indexed.
type directory struct {
	// Secret signs tokens. Changing it revokes all of them.
	Secret string  `json:"secret"`
	Domain string  `json:"domain"`
	Users  []*user `json:"users"`

	open     bool // no file: everybody may do everything
	tokenKey []byte
	byName   map[string]*user
	byAccess map[string]*key
	remarks  []string
	id       fileID
	refused  fileID // of a later state of the file that cannot be used
}

// user is one row of the users file.
type user struct {
	Name     string   `json:"name"`
	Password string   `json:"password"`
	Actions  []Action `json:"actions"`
	Keys     []*key   `json:"keys"`
	// Generation is part of every token; raising it revokes those of before.
	Generation int `json:"generation"`

	password    [sha256.Size]byte
	fingerprint string // of the password, keyed: part of every token
}

// key is a pair of access key and secret key. With SecurityToken it is a temporary one.
type key struct {
	Access        string    `json:"access"`
	Secret        string    `json:"secret"`
	SecurityToken string    `json:"security_token"`
	ExpiresAt     time.Time `json:"expires_at"`

	user *user
}

// anonymous is the caller where nobody is asked.
var anonymous = &user{Name: "anonymous", Actions: Actions()}

func (u *user) may(a Action) bool { return slices.Contains(u.Actions, a) }

// String keeps secrets out of whatever prints a user or a key.
func (u *user) String() string { return "user " + u.Name }

func (k *key) String() string { return "key " + k.Access }

func (d *directory) String() string { return fmt.Sprintf("%d users", len(d.Users)) }

// fileID tells whether a file is the same and unchanged.
type fileID struct {
	dev, ino      uint64
	size          int64
	changed, mode int64
}

func identify(name string) fileID {
	info, err := os.Stat(name)
	if err != nil {
		return fileID{mode: -1}
	}
	return identity(info)
}

func identity(info os.FileInfo) fileID {
	id := fileID{size: info.Size(), mode: int64(info.Mode())}
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		id.dev, id.ino, id.changed = uint64(st.Dev), st.Ino, st.Ctim.Nano()
	}
	return id
}

// readDirectory reads and checks the users file. A file that others may write is refused: whoever writes it decides who
// may call. One that others may read is used, with a remark.
func readDirectory(name string) (*directory, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("the users file: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("the users file: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("the users file %s is not a regular file", name)
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok && st.Uid != 0 && int(st.Uid) != os.Geteuid() {
		return nil, fmt.Errorf("the users file %s belongs to user %d, who may write it; give it to root or to the agent's user", name, st.Uid)
	}
	if mode := info.Mode().Perm(); mode&0o022 != 0 {
		return nil, fmt.Errorf("the users file %s may be written by others (mode %04o); chmod 600 %s", name, mode, name)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("the users file: %w", err)
	}
	d, err := parseDirectory(text)
	if err != nil {
		return nil, fmt.Errorf("the users file %s: %w", name, err)
	}
	d.id = identity(info)
	if mode := info.Mode().Perm(); mode&0o044 != 0 {
		d.remarks = append(d.remarks, fmt.Sprintf("the users file may be read by others (mode %04o); it holds secrets: chmod 600", mode))
	}
	return d, nil
}

// parseDirectory checks the text of a users file. Errors name the row and what would be right, never a value that may be
// a secret.
func parseDirectory(text []byte) (*directory, error) {
	if len(text) > maxFile {
		return nil, fmt.Errorf("more than %d bytes", maxFile)
	}
	d := &directory{Domain: defaultDomain, byName: map[string]*user{}, byAccess: map[string]*key{}}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(d); err != nil {
		return nil, explainJSON(err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("something follows the JSON object")
	}
	if len(d.Secret) < minSecret {
		return nil, fmt.Errorf("\"secret\", which signs tokens, needs at least %d characters, for example of: openssl rand -hex 32", minSecret)
	}
	if err := checkName("domain", d.Domain); err != nil {
		return nil, err
	}
	d.setSecret(d.Secret)
	for i, u := range d.Users {
		if u == nil {
			return nil, fmt.Errorf("users[%d] is null", i)
		}
		if err := d.add(u); err != nil {
			return nil, fmt.Errorf("users[%d] (%s): %w", i, u.Name, err)
		}
	}
	return d, nil
}

// explainJSON leaves out what encoding/json may quote of the file.
func explainJSON(err error) error {
	var syntax *json.SyntaxError
	var typ *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syntax):
		return fmt.Errorf("no valid JSON at byte %d", syntax.Offset)
	case errors.As(err, &typ):
		return fmt.Errorf("%q has the wrong type at byte %d: want %s", typ.Field, typ.Offset, typ.Type)
	case strings.HasPrefix(err.Error(), "json: unknown field "):
		return fmt.Errorf("unknown member %s", strings.TrimPrefix(err.Error(), "json: unknown field "))
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("the JSON object is not complete")
	}
	return errors.New("no valid users file; expires_at is a time like 2026-12-31T23:59:59Z")
}

func (d *directory) setSecret(secret string) {
	var err error
	if d.tokenKey, err = hkdf.Key(sha256.New, []byte(secret), nil, "gantry platform API tokens", sha256.Size); err != nil {
		panic(err) // only for a length that is out of range
	}
}

func (d *directory) add(u *user) error {
	if err := checkName("name", u.Name); err != nil {
		return err
	}
	if d.byName[u.Name] != nil {
		return errors.New("the name is there twice")
	}
	if u.Password != "" && len(u.Password) < minPassword {
		return fmt.Errorf("\"password\" needs at least %d characters", minPassword)
	}
	if u.Actions == nil {
		return errors.New("\"actions\" is missing: write [\"invoke\", \"invokeAsync\"], or [] for none")
	}
	for _, a := range u.Actions {
		if !slices.Contains(Actions(), a) {
			return fmt.Errorf("action %q is not one of invoke, invokeAsync", string(a))
		}
	}
	u.password = sha256.Sum256([]byte(u.Password))
	mac := hmac.New(sha256.New, d.tokenKey)
	_, _ = mac.Write([]byte("password\n" + u.Name + "\n" + u.Password)) // never fails
	u.fingerprint = hex.EncodeToString(mac.Sum(nil)[:8])
	d.byName[u.Name] = u
	for i, k := range u.Keys {
		if k == nil {
			return fmt.Errorf("keys[%d] is null", i)
		}
		if err := d.addKey(u, k); err != nil {
			return fmt.Errorf("keys[%d]: %w", i, err)
		}
	}
	return nil
}

func (d *directory) addKey(u *user, k *key) error {
	switch {
	case k.Access == "" || len(k.Access) > 128 || strings.ContainsFunc(k.Access, func(r rune) bool { return r <= ' ' || r == ',' || r == '=' || r >= 0x7f }):
		return errors.New("\"access\" needs 1 to 128 visible ASCII characters other than , and =")
	case d.byAccess[k.Access] != nil:
		return errors.New("the access key is there twice")
	case len(k.Secret) < minKey:
		return fmt.Errorf("\"secret\" needs at least %d characters", minKey)
	case k.SecurityToken != "" && k.ExpiresAt.IsZero():
		return errors.New("a key with \"security_token\" is temporary and needs \"expires_at\"")
	}
	k.user = u
	d.byAccess[k.Access] = k
	return nil
}

func checkName(member, name string) error {
	if name == "" || len(name) > 64 || strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f || r == '\uFFFD' }) {
		return fmt.Errorf("%q needs 1 to 64 characters, none of them a control character", member)
	}
	return nil
}

// idOf derives the stable id of a user or a domain: 32 hexadecimal digits, as on the platform.
func idOf(parts ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(parts, "\n")))
	return hex.EncodeToString(sum[:16])
}
