package auth

import (
	"bytes"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"gantry/files"
	"io"
	"os"
	"reflect"
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

// usersFile is the text of the users file.
type usersFile struct {
	// Secret signs tokens. Changing it revokes all of them.
	Secret string     `json:"secret"`
	Domain string     `json:"domain"`
	Users  []*userRow `json:"users"`
}

type userRow struct {
	Name     string `json:"name"`
	Password string `json:"password"`
	// Generation is part of every token; raising it revokes those of before.
	Generation int       `json:"generation"`
	Actions    []Action  `json:"actions"`
	Keys       []*keyRow `json:"keys"`
}

// keyRow is a pair of access key and secret key. With SecurityToken it is a temporary one.
type keyRow struct {
	Access        string `json:"access"`
	Secret        string `json:"secret"`
	SecurityToken string `json:"security_token"`
	// ExpiresAt is text, so that an error can name its row; nil for never.
	ExpiresAt *string `json:"expires_at"`
}

// directory is the users file in use: checked and indexed. Its secrets are behind closures, so that printing a
// directory, a user or a key cannot show them.
type directory struct {
	domain   string
	domainID string
	open     bool                     // no file: every request is allowed
	sign     func(text string) []byte // of tokens

	byName   map[string]*user
	byID     map[string]*user
	byAccess map[string]*key
	keys     []*key // in the file's order
	remarks  []string
	id       fileID
}

type user struct {
	name, id   string
	generation int
	actions    []Action
	// hasPassword compares in constant time; it is nil for a user without one.
	hasPassword func(password string) bool
	// fingerprint is of the password and keyed; it is part of every token.
	fingerprint string
	// removed is when the user was last seen to be missing in the file; tokens of before it are void. Zero for never.
	removed time.Time
}

type key struct {
	access    string
	user      *user
	expiresAt time.Time // zero for never
	temporary bool
	secret    func() string
	// hasToken compares the security token of a temporary key in constant time.
	hasToken func(token []byte) bool
}

// anonymous is the caller where there is no users file.
var anonymous = newUser(defaultDomain, "anonymous", Actions())

func newUser(domain, name string, actions []Action) *user {
	return &user{name: name, id: idOf("user", domain, name), actions: actions}
}

func (u *user) may(a Action) bool { return slices.Contains(u.actions, a) }

// equals returns a comparison with secret that takes the same time whatever it is given.
func equals[T string | []byte](secret string) func(T) bool {
	want := sha256.Sum256([]byte(secret))
	return func(given T) bool {
		got := sha256.Sum256([]byte(given))
		return subtle.ConstantTimeCompare(want[:], got[:]) == 1
	}
}

// fileID identifies a version of a file: it shows whether the file is the same and unchanged.
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
		id.dev, id.ino, id.changed = st.Dev, st.Ino, st.Ctim.Nano()
	}
	return id
}

// readDirectory reads and checks the users file. A file that others may write is refused: its writer decides who may
// call. One that others may read is used, with a remark.
func readDirectory(name string) (*directory, error) {
	text, info, err := files.ReadRegular(name, maxFile, func(info os.FileInfo) error {
		if st, ok := info.Sys().(*syscall.Stat_t); ok && st.Uid != 0 && int(st.Uid) != os.Geteuid() {
			return fmt.Errorf("%s belongs to user %d, who may write it; give it to root or to the agent's user", name, st.Uid)
		}
		if mode := info.Mode().Perm(); mode&0o022 != 0 {
			return fmt.Errorf("%s may be written by others (mode %04o); chmod 600 %s", name, mode, name)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	d, err := parseDirectory(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	d.id = identity(info)
	if mode := info.Mode().Perm(); mode&0o044 != 0 {
		d.remarks = append(
			d.remarks,
			fmt.Sprintf("the users file may be read by others (mode %04o); it holds secrets: chmod 600", mode),
		)
	}
	return d, nil
}

// parseDirectory checks the text of a users file. Errors name the row and what would be right, never a value that may
// be a secret.
func parseDirectory(text []byte) (*directory, error) {
	file, err := parseFile(text)
	if err != nil {
		return nil, err
	}
	if len(file.Secret) < minSecret {
		return nil, fmt.Errorf(
			"\"secret\", which signs tokens, needs at least %d characters, for example of: openssl rand -hex 32",
			minSecret,
		)
	}
	if err := checkName("domain", file.Domain); err != nil {
		return nil, err
	}
	d := newDirectory(file.Domain, file.Secret)
	for i, row := range file.Users {
		if row == nil {
			return nil, fmt.Errorf("users[%d] is null", i)
		}
		if err := d.add(row); err != nil {
			return nil, fmt.Errorf("users[%d] (%s): %w", i, row.Name, err)
		}
	}
	return d, nil
}

// withoutMark removes the byte order mark that editors on Windows put before a text.
func withoutMark(text []byte) []byte { return bytes.TrimPrefix(text, []byte("\xef\xbb\xbf")) }

// parseFile checks the form of the text alone.
func parseFile(text []byte) (*usersFile, error) {
	file := &usersFile{Domain: defaultDomain}
	decoder := json.NewDecoder(bytes.NewReader(withoutMark(text)))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(file); err != nil {
		return nil, explainJSON(err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("something follows the JSON object")
	}
	return file, nil
}

// explainJSON leaves out what encoding/json may quote of the file, and names types as JSON does.
func explainJSON(err error) error {
	var syntax *json.SyntaxError
	var typ *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syntax):
		return fmt.Errorf("no valid JSON at byte %d", syntax.Offset)
	case errors.As(err, &typ) && typ.Field == "":
		return fmt.Errorf("the file has the wrong type: want a JSON object with \"secret\" and \"users\"")
	case errors.As(err, &typ):
		return fmt.Errorf("%q has the wrong type at byte %d: want %s", typ.Field, typ.Offset, jsonType(typ.Type.Kind()))
	case strings.HasPrefix(err.Error(), "json: unknown field "):
		return fmt.Errorf("unknown member %s", strings.TrimPrefix(err.Error(), "json: unknown field "))
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("the JSON object is not complete")
	}
	return errors.New("no valid users file")
}

func jsonType(kind reflect.Kind) string {
	switch kind {
	case reflect.String:
		return "a string"
	case reflect.Int:
		return "a whole number"
	case reflect.Slice:
		return "a list"
	}
	return "an object"
}

// newDirectory has no users yet. Tokens are signed with a key derived from secret.
func newDirectory(domain, secret string) *directory {
	tokenKey, err := hkdf.Key(sha256.New, []byte(secret), nil, "gantry platform API tokens", sha256.Size)
	if err != nil {
		panic(err) // only for a length that is out of range
	}
	sign := func(text string) []byte {
		mac := hmac.New(sha256.New, tokenKey)
		_, _ = mac.Write([]byte(text)) // never fails
		return mac.Sum(nil)
	}
	return &directory{
		domain: domain, domainID: idOf("domain", domain), sign: sign,
		byName: map[string]*user{}, byID: map[string]*user{}, byAccess: map[string]*key{},
	}
}

func (d *directory) add(row *userRow) error {
	if err := checkName("name", row.Name); err != nil {
		return err
	}
	if d.byName[row.Name] != nil {
		return errors.New("the name is there twice")
	}
	if row.Password != "" && len(row.Password) < minPassword {
		return fmt.Errorf("\"password\" needs at least %d characters", minPassword)
	}
	if row.Actions == nil {
		return errors.New("\"actions\" is missing: write [\"invoke\", \"invokeAsync\"], or [] for none")
	}
	for _, a := range row.Actions {
		if !slices.Contains(Actions(), a) {
			return fmt.Errorf("action %q is not one of invoke, invokeAsync", string(a))
		}
	}
	u := newUser(d.domain, row.Name, row.Actions)
	u.generation = row.Generation
	if row.Password != "" {
		u.hasPassword = equals[string](row.Password)
	}
	u.fingerprint = hex.EncodeToString(d.sign("password\n" + row.Name + "\n" + row.Password)[:8])
	d.byName[u.name], d.byID[u.id] = u, u
	for i, k := range row.Keys {
		if k == nil {
			return fmt.Errorf("keys[%d] is null", i)
		}
		if err := d.addKey(u, k); err != nil {
			return fmt.Errorf("keys[%d]: %w", i, err)
		}
	}
	return nil
}

func (d *directory) addKey(u *user, row *keyRow) error {
	switch {
	case row.Access == "" || len(row.Access) > 128 || strings.ContainsFunc(row.Access, notInAccessKey):
		return errors.New("\"access\" needs 1 to 128 visible ASCII characters other than , and =")
	case d.byAccess[row.Access] != nil:
		return errors.New("the access key is there twice")
	case len(row.Secret) < minKey:
		return fmt.Errorf("\"secret\" needs at least %d characters", minKey)
	case row.SecurityToken != "" && row.ExpiresAt == nil:
		return errors.New("a key with \"security_token\" is temporary and needs \"expires_at\"")
	}
	expires, err := row.expires()
	if err != nil {
		return err
	}
	secret := row.Secret
	k := &key{
		access: row.Access, user: u, expiresAt: expires, temporary: row.SecurityToken != "",
		secret: func() string { return secret }, hasToken: equals[[]byte](row.SecurityToken),
	}
	d.byAccess[k.access] = k
	d.keys = append(d.keys, k)
	return nil
}

// expires returns the end of the key, zero for none.
func (row *keyRow) expires() (time.Time, error) {
	if row.ExpiresAt == nil {
		return time.Time{}, nil
	}
	t, err := time.Parse(time.RFC3339, *row.ExpiresAt)
	if err != nil {
		return time.Time{}, errors.New("\"expires_at\" is no time; want one like 2026-12-31T23:59:59Z")
	}
	return t, nil
}

func checkName(member, name string) error {
	if name == "" || len(name) > 64 ||
		strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f || r == '\uFFFD' }) {
		return fmt.Errorf("%q needs 1 to 64 characters, none of them a control character", member)
	}
	return nil
}

// idOf derives the stable id of a user or a domain: 32 hexadecimal digits, as on the platform.
func idOf(parts ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(parts, "\n")))
	return hex.EncodeToString(sum[:16])
}

// AnyKey returns a permanent pair of keys, of the first user in the file's order who may do action: for commands that
// call the agent with this users file.
func AnyKey(file string, action Action) (access, secret string, err error) {
	d, err := files.Within(file, func() (*directory, error) {
		text, _, err := files.ReadRegular(file, maxFile, nil)
		if err != nil {
			return nil, err
		}
		d, err := parseDirectory(text)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		return d, nil
	})
	if err != nil {
		return "", "", err
	}
	for _, k := range d.keys {
		if k.user.may(action) && !k.temporary && (k.expiresAt.IsZero() || time.Now().Before(k.expiresAt)) {
			return k.access, k.secret(), nil
		}
	}
	return "", "", fmt.Errorf("%s: no user with a key may do %s", file, action)
}

// notInAccessKey reports whether an access key cannot have r: it stands in a header, between separators.
func notInAccessKey(r rune) bool { return r <= ' ' || r == ',' || r == '=' || r >= 0x7f }
