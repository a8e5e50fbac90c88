package main

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestExplainNamesCauseAndRemedyInTheLanguageOfTheLocale(t *testing.T) {
	code, text, _ := output(t, "bootstrap", "explain", "4010", "--lang", "en")
	require.Zero(t, code)
	require.True(t, strings.HasPrefix(text, "4010, Runtime.Timeout: the call passed its deadline\n\nWhy: "), text)
	require.Contains(t, text, "\nWhat to do: ")
	require.Contains(t, text, "RUNTIME_TIMEOUT")
	_, chinese, _ := output(t, "bootstrap", "explain", "runtime.timeout", "--lang", "zh")
	require.Contains(t, chinese, "调用超时")
	for locale, want := range map[string]string{"zh_CN.UTF-8": "调用超时", "de_DE.UTF-8": "deadline", "": "deadline"} {
		file, err := os.Create(t.TempDir() + "/out")
		require.NoError(t, err)
		require.Zero(t, run([]string{"bootstrap", "explain", "4010"}, []string{"LANG=" + locale}, nil, file, file))
		text, err := os.ReadFile(file.Name())
		require.NoError(t, err)
		require.Contains(t, string(text), want, locale)
		require.NoError(t, file.Close())
	}
}

func TestExplainRefusesUnknownCodesWithTheNearestOne(t *testing.T) {
	code, _, stderr := output(t, "bootstrap", "explain", "Runtime.Timeuot")
	require.Equal(t, exitUsage, code)
	require.Contains(t, stderr, "is no code of the agent; did you mean Runtime.Timeout?; bootstrap explain lists them")
	code, _, stderr = output(t, "bootstrap", "explain", "4010", "--lang", "fr")
	require.Equal(t, exitUsage, code)
	require.Contains(t, stderr, `--lang is "fr", want en or zh`)
	code, list, _ := output(t, "bootstrap", "explain")
	require.Zero(t, code)
	require.Contains(t, list, "\nFSS.1051 ")
}
