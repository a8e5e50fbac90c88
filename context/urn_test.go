package fncontext

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestParseURNTakesEveryFormAndRefusesOthers(t *testing.T) {
	good := map[string]URN{
		"hello":                                  {Name: "hello", Version: "latest"},
		"app:hello":                              {Package: "app", Name: "hello", Version: "latest"},
		"p1:app:hello":                           {Project: "p1", Package: "app", Name: "hello", Version: "latest"},
		"p1:app:hello:v2":                        {Project: "p1", Package: "app", Name: "hello", Version: "v2"},
		"p1:app:hello:!prod":                     {Project: "p1", Package: "app", Name: "hello", Alias: "prod"},
		"urn:fss:r:p1:function:app:hello":        {Region: "r", Project: "p1", Package: "app", Name: "hello", Version: "latest"},
		"urn:fss:r:p1:function:app:hello:latest": {Region: "r", Project: "p1", Package: "app", Name: "hello", Version: "latest"},
		"urn:fss:r:p1:function:app:hello:!a.b":   {Region: "r", Project: "p1", Package: "app", Name: "hello", Alias: "a.b"},
	}
	for s, want := range good {
		if got, err := ParseURN(s); err != nil || got != want {
			t.Errorf("ParseURN(%q) = %+v, %v; want %+v", s, got, err, want)
		}
	}
	bad := map[string]string{
		"":                                     "empty",
		"a:":                                   "empty",
		":a":                                   "empty",
		"a:b:c:d:e":                            "5 fields",
		"a:b:c:d:e:f":                          "6 fields",
		"urn:fss:r:p:function:a:b:c:d":         "9 fields",
		"arn:fss:r:p:function:a:b":             "does not read",
		"urn:fgs:r:p:function:a:b":             "does not read",
		"urn:fss:r:p:trigger:a:b":              "does not read",
		"!prod":                                "does not begin an alias",
		"p:a:b:v!1":                            "does not begin an alias",
		"p:a:b:!!":                             "does not begin an alias",
		"p:a:b:!":                              "does not begin an alias",
		"a b":                                  "characters",
		"a\x00b":                               "characters",
		"a/b":                                  "characters",
		"a\xff":                                "characters",
		strings.Repeat("a", MaxURN+1):          "more than 269",
		"urn:fss:r:p:function:a:b:" + "\u007f": "characters",
	}
	for s, want := range bad {
		if got, err := ParseURN(s); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("ParseURN(%q) = %+v, %v; want an error with %q", s, got, err, want)
		}
	}
}

func FuzzParseURN(f *testing.F) {
	for _, s := range []string{"a", "a:b", "p:a:b:!c", "urn:fss:r:p:function:a:b:latest", ":::", "!", "urn:fss:r:p:function:a:b:!"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		u, err := ParseURN(s)
		if err != nil {
			return
		}
		if len(s) > MaxURN || !utf8.ValidString(s) || u.Name == "" || (u.Version == "") == (u.Alias == "") {
			t.Fatalf("accepted %q as %+v", s, u)
		}
		for _, part := range []string{u.Region, u.Project, u.Package, u.Name, u.Version, u.Alias} {
			if strings.ContainsAny(part, ":!/ ") || !strings.Contains(s+":latest", part) {
				t.Fatalf("accepted %q as %+v", s, u)
			}
		}
	})
}
