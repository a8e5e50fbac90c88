package api

import (
	"encoding/json"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"github.com/valyala/fasthttp"
)

// check reports where v does not fit the schema; nil if it fits. A member that the schema does not name does not fit
// either, unless the schema allows additional ones.
func (d openAPI) check(at string, schema, v any) error {
	schema = d.resolve(schema)
	if err := checkType(at, member(schema, "type"), v); err != nil {
		return err
	}
	if enum := list(member(schema, "enum")); enum != nil && !slices.Contains(enum, v) {
		return fmt.Errorf("%s: %v is not one of %v", at, v, enum)
	}
	if err := d.checkForm(at, schema, v); err != nil {
		return err
	}
	for _, name := range list(member(schema, "required")) {
		if _, ok := members(v)[name.(string)]; !ok {
			return fmt.Errorf("%s: %s is missing", at, name)
		}
	}
	properties := members(member(schema, "properties"))
	for name, value := range members(v) {
		if p, ok := properties[name]; ok {
			if err := d.check(at+"."+name, p, value); err != nil {
				return err
			}
		} else if properties != nil && member(schema, "additionalProperties") != true {
			return fmt.Errorf("%s: the schema has no %s", at, name)
		}
	}
	if items := member(schema, "items"); items != nil {
		for i, item := range list(v) {
			if err := d.check(fmt.Sprintf("%s[%d]", at, i), items, item); err != nil {
				return err
			}
		}
	}
	alternatives := list(member(schema, "anyOf"))
	if len(alternatives) > 0 && !slices.ContainsFunc(alternatives, func(s any) bool { return d.check(at, s, v) == nil }) {
		return fmt.Errorf("%s: none of the alternatives fits", at)
	}
	return nil
}

// checkForm compares a number with its range, and a string with its form.
func (d openAPI) checkForm(at string, schema, v any) error {
	if n, ok := v.(float64); ok {
		if least, ok := member(schema, "minimum").(float64); ok && n < least {
			return fmt.Errorf("%s: %v is under %v", at, n, least)
		}
		if most, ok := member(schema, "maximum").(float64); ok && n > most {
			return fmt.Errorf("%s: %v is over %v", at, n, most)
		}
	}
	s, ok := v.(string)
	if !ok {
		return nil
	}
	if pattern, ok := member(schema, "pattern").(string); ok && !regexp.MustCompile(pattern).MatchString(s) {
		return fmt.Errorf("%s: %q is not of the form %s", at, s, pattern)
	}
	var err error
	switch member(schema, "format") {
	case "date-time":
		_, err = time.Parse(time.RFC3339, s)
	case "uuid":
		_, err = uuid.Parse(s)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", at, err)
	}
	if content := member(schema, "contentSchema"); content != nil {
		var inner any
		if err := json.Unmarshal([]byte(s), &inner); err != nil {
			return fmt.Errorf("%s: %w", at, err)
		}
		return d.check(at, content, inner)
	}
	return nil
}

// checkType compares with a JSON Schema type, or a list of them.
func checkType(at string, want, v any) error {
	got := "null"
	switch v := v.(type) {
	case map[string]any:
		got = "object"
	case []any:
		got = "array"
	case string:
		got = "string"
	case bool:
		got = "boolean"
	case float64:
		got = "number"
		if v == math.Trunc(v) {
			got = "integer"
		}
	}
	types := list(want)
	if want != nil && types == nil {
		types = []any{want}
	}
	if len(types) == 0 || slices.Contains(types, any(got)) || got == "integer" && slices.Contains(types, any("number")) {
		return nil
	}
	return fmt.Errorf("%s: %s where the schema says %v", at, got, want)
}

func requireFits(t *testing.T, doc openAPI, schema any, body []byte) {
	t.Helper()
	require.NotNil(t, schema)
	var v any
	require.NoError(t, json.Unmarshal(body, &v), "%s", body)
	require.NoError(t, doc.check("", schema, v), "%s", body)
}

// requireAnswer checks a whole answer, with its headers, against the document. With every set, each declared header
// must be present.
func requireAnswer(t *testing.T, doc openAPI, method, path string, ctx *fasthttp.RequestCtx, every bool) {
	t.Helper()
	status := ctx.Response.StatusCode()
	r := doc.response(method, path, status)
	require.NotNil(t, r, "%s %s has no answer with status %d: %s", method, path, status, ctx.Response.Body())
	declared := map[string]any{}
	for name, h := range members(member(r, "headers")) {
		declared[strings.ToLower(name)] = doc.resolve(h)
	}
	seen := map[string]bool{}
	for name, value := range ctx.Response.Header.All() {
		key := strings.ToLower(string(name))
		if key == "content-type" || key == "server" {
			continue
		}
		require.NotNil(t, declared[key], "%s %s %d: header %s", method, path, status, name)
		seen[key] = true
		requireHeader(t, doc, declared[key], string(value))
	}
	for name, h := range declared {
		if every || member(h, "required") == true {
			require.True(t, seen[name], "%s %s %d: no header %s", method, path, status, name)
		}
	}
	if member(r, "content") == nil {
		require.Empty(t, ctx.Response.Body(), "%s %s %d", method, path, status)
		return
	}
	media := member(member(r, "content"), string(ctx.Response.Header.ContentType()))
	require.NotNil(t, media, "%s %s %d: %s", method, path, status, ctx.Response.Header.ContentType())
	if string(ctx.Response.Header.ContentType()) == contentJSON && len(ctx.Response.Body()) > 0 {
		requireFits(t, doc, member(media, "schema"), ctx.Response.Body())
	}
	if code := codeOf(ctx); code != "" {
		require.Contains(t, member(r, "description"), code+":", "%s %s %d: %s", method, path, status, ctx.Response.Body())
	}
}

// codeOf is the platform's code of a refusal; empty for other answers.
func codeOf(ctx *fasthttp.RequestCtx) string {
	var refusal struct {
		Code string `json:"error_code"`
	}
	if ctx.Response.StatusCode() < fasthttp.StatusBadRequest || json.Unmarshal(ctx.Response.Body(), &refusal) != nil {
		return ""
	}
	return refusal.Code
}

// requireHeader holds the value of a header against its schema, or against that of the JSON in it.
func requireHeader(t *testing.T, doc openAPI, header any, value string) {
	t.Helper()
	schema := member(header, "schema")
	if schema == nil {
		schema = member(member(member(header, "content"), contentJSON), "schema")
	}
	if member(schema, "type") == "string" {
		quoted, err := json.Marshal(value)
		require.NoError(t, err)
		value = string(quoted)
	}
	requireFits(t, doc, schema, []byte(value))
}

const openAPIUsers = `{"secret": "0123456789abcdef0123456789abcdef", "users": [
  {"name": "ci", "password": "correct horse", "actions": ["invoke", "invokeAsync"]},
  {"name": "idle", "password": "battery staple", "actions": []}]}`
