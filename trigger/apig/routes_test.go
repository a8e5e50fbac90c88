package apig

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestRoutesAreFound(t *testing.T) {
	r, err := parseRoutes([]byte("\ufeff" + `[
		{"path": "/users/{id}", "methods": ["GET", "PUT"]},
		{"path": "/users/{name}/pets/{pet}"},
		{"path": "/users/me", "methods": ["GET"]},
		{"path": "/files/{proxy+}", "methods": ["ANY"]},
		{"path": "/files/{name}", "methods": ["PATCH"]},
		{"path": "/", "methods": ["GET"]},
		{"path": "/dir/", "methods": ["GET"]},
		{"path": "/größe", "methods": ["GET"]}
	]`))
	require.NoError(t, err)
	for request, want := range map[string]string{
		"GET /users/7":              "id=7",
		"PUT /users/a%2Fb%20c%zz":   "id=a/b c%zz",
		"GET /users/me":             "",
		"PUT /users/me":             "id=me",
		"DELETE /users/me":          "none GET PUT",
		"GET /users/7/pets/a+b":     "name=7 pet=a+b",
		"GET /users/":               "none",
		"GET /users":                "none",
		"GET /users/7/":             "none",
		"GET /users//pets/x":        "none",
		"GET /files/a/b%20c//":      "=a/b%20c//",
		"PATCH /files/a":            "name=a",
		"PATCH /files/a/b":          "=a/b",
		"GET /files/a":              "=a",
		"GET /files/":               "none",
		"GET /":                     "",
		"POST /":                    "none GET",
		"GET /dir/":                 "",
		"GET /dir":                  "none",
		"GET /gr%C3%B6%c3%9fe":      "",
		"GET /größe":                "",
		"GET //":                    "none",
		"GET " + "/users/me?":       "id=me?",
		"GET " + "users/7":          "none",
		"GET ":                      "none",
		"OPTIONS /users/7/pets/cat": "name=7 pet=cat",
	} {
		method, path, _ := strings.Cut(request, " ")
		params, allowed, ok := r.Find([]byte(method), []byte(path), make([]Field, 0, 4))
		got := strings.Join(append([]string{"none"}, allowed...), " ")
		if ok {
			var parts []string
			for _, p := range params {
				parts = append(parts, string(p.Name)+"="+string(p.Value))
			}
			got = strings.Join(parts, " ")
		}
		require.Equal(t, want, got, request)
	}
	methods, all := r.Methods([]byte("/users/me"))
	require.Equal(t, []string{"GET", "PUT"}, methods)
	require.False(t, all)
	_, all = r.Methods([]byte("/files/x"))
	require.True(t, all)
	methods, all = r.Methods([]byte("/nope"))
	require.Empty(t, methods)
	require.False(t, all)
}

func TestWithoutRoutesEverythingIsFound(t *testing.T) {
	var r *Routes
	for path, want := range map[string]string{"/": "", "/a/b%20": "a/b%20", "//": "/"} {
		params, _, ok := r.Find([]byte("BREW"), []byte(path), nil)
		require.True(t, ok)
		if want == "" {
			require.Empty(t, params)
			continue
		}
		require.Len(t, params, 1)
		require.Empty(t, params[0].Name)
		require.Equal(t, want, string(params[0].Value))
	}
	_, all := r.Methods([]byte("/"))
	require.True(t, all)
}

func TestFaultyRoutesSayWhatIsWrong(t *testing.T) {
	file := filepath.Join(t.TempDir(), "routes.json")
	for text, want := range map[string]string{
		``:                                       "want JSON of the form [",
		`[`:                                      "want JSON of the form [",
		`{"routes":[]}`:                          "want JSON of the form [",
		`[{"path":5}]`:                           "a value of another kind, number, before byte 10",
		`[]`:                                     "there are 0 routes; want 1 to 1000",
		`[{"path":"/","method":"GET"}]`:          `unknown field "method"`,
		`[{"path":"/"}] []`:                      "something follows the list of routes",
		`[{"path":"/"},{"methods":["GET"]}]`:     `route 2, "": want a path that begins with "/"`,
		`[{"path":"a"}]`:                         `route 1, "a": want a path that begins with "/"`,
		`[{"path":"/a?b"}]`:                      `without escapes, blanks, "?" and "#"`,
		`[{"path":"/a%20b"}]`:                    "without escapes",
		`[{"path":"/a//b"}]`:                     "two slashes follow each other",
		`[{"path":"/{}"}]`:                       `"{}" is neither text nor {name}`,
		`[{"path":"/{+}"}]`:                      `"{+}" is neither text nor {name}`,
		`[{"path":"/a{b}"}]`:                     `"a{b}" is neither text nor {name}`,
		`[{"path":"/*"}]`:                        `"*" is neither text nor {name}`,
		`[{"path":"/{a+}/b"}]`:                   "{a+} stands for all that follows, so it has to be the last part",
		`[{"path":"/{a}/{a}"}]`:                  "the parameter {a} is there twice",
		`[{"path":"/","methods":["get"]}]`:       `the method is "get"; want capital letters like GET`,
		`[{"path":"/","methods":["ANY","GET"]}]`: "ANY means all methods; want it alone",
		`[{"path":"/{a}"},{"path":"/{b}"}]`:      "/{a} takes the same requests",
		`[{"path":"/{a}","methods":["GET"]},{"path":"/{b}"}]`:                     "/{a} takes the same requests",
		`[{"path":"/a","methods":["GET"]},{"path":"/a","methods":["PUT","GET"]}]`: "/a takes the same requests",
		"[" + strings.Repeat(`{"path":"/"},`, mostRoutes) + `{"path":"/"}]`:       "there are 1001 routes",
		strings.Repeat(" ", maxRoutes+1):                                          "has more than 1048576 bytes",
	} {
		require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
		_, err := ReadRoutes(file)
		require.ErrorContains(t, err, want, "%.80s", text)
		require.ErrorContains(t, err, file)
	}
	_, err := ReadRoutes(file + ".not")
	require.ErrorContains(t, err, "no such file")
}

func TestRoutesOfOneShapeMayDifferInMethods(t *testing.T) {
	r, err := parseRoutes([]byte(`[{"path":"/{a}","methods":["GET"]},{"path":"/{b}","methods":["PUT"]}]`))
	require.NoError(t, err)
	for method, want := range map[string]string{"GET": "a", "PUT": "b"} {
		params, _, ok := r.Find([]byte(method), []byte("/x"), nil)
		require.True(t, ok, fmt.Sprint(method))
		require.Equal(t, want, string(params[0].Name))
	}
}
