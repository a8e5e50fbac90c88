package apig

import "strings"

// Page is what a person sees in a browser in place of an answer that is wrong. written is the line as the function's
// language has it.
func (w *Wrong) Page(id, written string) []byte {
	escape := strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&#34;", "'", "&#39;").Replace
	field := w.Field
	if field == "" {
		field = "the answer as a whole"
	}
	return []byte(`<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<title>500 ` + Code + `: the function's answer is wrong</title>
<style>body{font:16px/1.5 sans-serif;max-width:46em;margin:3em auto;padding:0 1em}` +
		`pre{background:#eee;padding:1em;white-space:pre-wrap;overflow-wrap:anywhere}</style>
<h1>The function answered, and API Gateway cannot use it</h1>
<p id="problem">` + escape(sentence(w.Problem)) + `</p>
<p>Wrong: <b id="field">` + escape(field) + `</b>. Write:</p>
<pre id="line">` + escape(written) + `</pre>
<p>On FunctionGraph the caller gets HTTP 500 with ` + Code + `, and so does every caller here. This page is for browsers
on this machine only.</p>
<p>Request <code>` + escape(id) + `</code></p>
</html>
`)
}

// sentence begins with a capital letter and ends with a full stop.
func sentence(text string) string {
	for _, name := range members {
		if strings.HasPrefix(text, name) { // names stay as they are
			return text + "."
		}
	}
	return strings.ToUpper(text[:1]) + text[1:] + "."
}
