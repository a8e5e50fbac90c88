// Package worker has the sources of our workers, as they lie in its folders.
package worker

import _ "embed" // for the sources

// NodeJS is the worker of functions in Node.js.
//
//go:embed nodejs/worker.js
var NodeJS string

// NodeJSCodeCache is the part of it that is compiled only where there is a code cache.
//
//go:embed nodejs/codecache.js
var NodeJSCodeCache string

// Python is the worker of functions in Python.
//
//go:embed python/worker.py
var Python string

// PythonCodeCache is the last section of it, compiled only where there is a code cache.
//
//go:embed python/codecache.py
var PythonCodeCache string

// PHP is the worker of functions in PHP.
//
//go:embed php/worker.php
var PHP string
