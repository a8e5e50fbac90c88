package fncontext

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"
)

func TestParseHandlerSplitsGoodNamesAndRefusesBadOnes(t *testing.T) {
	good := map[string]Handler{
		"index.handler":      {"index", "handler"},
		"src/index.handler":  {"src/index", "handler"},
		"my.module.main":     {"my.module", "main"},
		"a/b.c/d-e_f.handle": {"a/b.c/d-e_f", "handle"},
	}
	for s, want := range good {
		got, err := ParseHandler(s)
		if err != nil || got != want {
			t.Errorf("ParseHandler(%q) = %+v, %v; want %+v", s, got, err, want)
		}
		if got.String() != s {
			t.Errorf("%q came back as %q", s, got.String())
		}
	}
	bad := map[string]string{
		"":                     "no dot",
		"handler":              "no dot",
		"/etc/index.handler":   "absolute",
		"../index.handler":     "leaves",
		"a/../index.handler":   "leaves",
		"a//index.handler":     "leaves",
		"./index.handler":      "leaves",
		"index\x00.handler":    "NUL",
		".handler":             "lacks a part",
		"index.":               "lacks a part",
		"src/.handler":         "lacks a part",
		"my.folder/indexnodot": "no dot after",
	}
	for s, want := range bad {
		if _, err := ParseHandler(s); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("ParseHandler(%q) = %v; want an error with %q", s, err, want)
		}
	}
}

func FuzzParseHandler(f *testing.F) {
	for _, s := range []string{"index.handler", "a/b.c", "..", "/x.y", "a\x00.b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		h, err := ParseHandler(s)
		if err != nil {
			return
		}
		if h.String() != s || strings.Contains("/"+h.File+"/", "/../") || strings.HasPrefix(h.File, "/") || strings.ContainsRune(s, 0) {
			t.Fatalf("accepted %q as %+v", s, h)
		}
	})
}

func TestCredentialsNeverPrint(t *testing.T) {
	const secret = "s3cr3t-value"
	inv := Invocation{RequestID: "r", Credentials: NewCredentials(Secrets{SecurityToken: secret, AuthToken: secret})}
	type hidden struct{ inv Invocation }
	var texts []string
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
		texts = append(texts, fmt.Sprintf(verb, inv), fmt.Sprintf(verb, &inv), fmt.Sprintf(verb, hidden{inv}), fmt.Sprintf(verb, inv.Credentials))
	}
	if b, err := json.Marshal(inv); err != nil {
		t.Error(err)
	} else {
		texts = append(texts, string(b))
	}
	var sb strings.Builder
	slog.New(slog.NewTextHandler(&sb, nil)).Info("x", "inv", inv, "cred", inv.Credentials)
	texts = append(texts, sb.String())
	for _, text := range texts {
		if strings.Contains(text, secret) || strings.Contains(text, fmt.Sprintf("%x", secret)) {
			t.Errorf("a secret shows in %s", text)
		}
	}
	if inv.Credentials.Reveal().SecurityToken != secret || inv.Credentials.Empty() {
		t.Error("Reveal lost the secret")
	}
	if !NewCredentials(Secrets{}).Empty() {
		t.Error("no secrets are not empty")
	}
}

func TestEncryptedDataNeverPrints(t *testing.T) {
	const secret = "s3cr3t-value"
	data := NewEncryptedData(map[string]string{"KEY": secret})
	type config struct{ data EncryptedData }
	var sb strings.Builder
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
		fmt.Fprintf(&sb, verb+verb+verb, data, config{data}, &config{data})
	}
	b, err := json.Marshal(map[string]any{"data": data})
	if err != nil {
		t.Error(err)
	}
	sb.Write(b)
	slog.New(slog.NewTextHandler(&sb, nil)).Info("x", "data", data)
	if text := sb.String(); strings.Contains(text, secret) || strings.Contains(text, fmt.Sprintf("%x", secret)) || strings.Contains(text, "KEY") {
		t.Errorf("a variable shows in %s", text)
	}
	if data.Reveal()["KEY"] != secret || data.Empty() {
		t.Error("Reveal lost the variable")
	}
	if none := NewEncryptedData(nil); !none.Empty() || none.Reveal() != nil {
		t.Error("no variables are not empty")
	}
}

func TestRemainingMayBeNegative(t *testing.T) {
	now := time.Unix(100, 0)
	inv := Call{Deadline: now.Add(-time.Second)}
	if got := inv.Remaining(now); got != -time.Second {
		t.Errorf("Remaining = %v", got)
	}
}

func TestFunctionURNNamesAllItsParts(t *testing.T) {
	f := Function{Region: "local-1", Project: "p", Package: "default", Name: "hello", Version: "latest"}
	if got, want := f.URN(), "urn:fss:local-1:p:function:default:hello:latest"; got != want {
		t.Errorf("URN = %s, want %s", got, want)
	}
}
