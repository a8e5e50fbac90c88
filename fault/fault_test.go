package fault

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTextShowsHintsOnlyLocallyAndNoCause(t *testing.T) {
	e := &Error{Kind: Crash, Type: TypeExited, Code: CodeExited, Message: `runtime process is exited: <"x">`, Hint: "do this", Stderr: []string{"a", "b\n"}, Err: errors.New("cause")}
	require.Equal(t, "{\n    \"errorMessage\": \"runtime process is exited: <\\\"x\\\">\",\n    \"errorType\": \"Runtime.Exited\"\n}", string(e.Text(false)))
	var local struct {
		ErrorMessage, ErrorType, Hint string
		Stderr                        []string
	}
	require.NoError(t, json.Unmarshal(e.Text(true), &local))
	require.Equal(t, e.Stderr, local.Stderr)
	require.Equal(t, "do this", local.Hint)
	require.NotContains(t, string(e.Text(true)), "cause", "the cause is for our log only")
	require.Equal(t, "worker's own", string((&Error{Kind: Init, Body: []byte("worker's own")}).Text(true)))
	require.Empty(t, (&Error{Kind: Function}).Text(true), "an empty error body stays empty")
}

// TestHintsAreAddedInTheFormOfTheBody: of the workers' error bodies; what the user has made stays as it is.
func TestHintsAreAddedInTheFormOfTheBody(t *testing.T) {
	for body, want := range map[string]string{
		"{\n    \"errorMessage\": \"x\"\n}":                        "{\n    \"errorMessage\": \"x\",\n    \"hint\": \"do <this>\"\n}",
		"{\n  \"errorMessage\": \"x\",\n  \"errorType\": \"T\"\n}": "{\n  \"errorMessage\": \"x\",\n  \"errorType\": \"T\",\n  \"hint\": \"do <this>\"\n}",
		`{"errorMessage":"x","errorType":"T"}`:                     `{"errorMessage":"x","errorType":"T","hint":"do <this>"}`,
		`{"message":"x"}`:                                          `{"message":"x"}`,
		`"errorMessage":1}`:                                        `"errorMessage":1}`,
		`{x"errorMessage":1}`:                                      `{x"errorMessage":1}`,
		"{\n  \"errorMessage\": 1}":                                "{\n  \"errorMessage\": 1}",
		"text":                                                     "text",
		"":                                                         "",
	} {
		e := &Error{Kind: Function, Body: []byte(body), Hint: "do <this>"}
		require.Equal(t, want, string(e.Text(true)), body)
		require.Equal(t, body, string(e.Text(false)), body)
	}
}

// TestUserMessageIsWhatTheWorkerSays: of JSON the member, and a short text itself.
func TestUserMessageIsWhatTheWorkerSays(t *testing.T) {
	for body, want := range map[string]string{
		`{"errorMessage":"x"}`:                        "x",
		"response body size 7 exceeds the limit of 6": "response body size 7 exceeds the limit of 6",
		`{"message":"x"}`:                             "own",
		"":                                            "own",
		"a\xff":                                       "own",
		strings.Repeat("a", 1001):                     "own",
	} {
		require.Equal(t, want, (&Error{Message: "own", Body: []byte(body)}).UserMessage(), body)
	}
}

func TestFromUnwrapsFaultsAndHidesOtherErrors(t *testing.T) {
	e := &Error{Kind: Timeout}
	require.Same(t, e, From(fmt.Errorf("wrapped: %w", e)))
	hidden := From(errors.New("password=1"))
	require.Equal(t, Internal, hidden.Kind)
	require.NotContains(t, string(hidden.Text(true)), "password")
	require.ErrorContains(t, hidden, "password", "the log sees it")
}

func TestUserSideIsTrueForCodesOfUserErrors(t *testing.T) {
	for code, want := range map[int]bool{0: false, 400: false, 4001: true, 4140: true, 4999: true, 5000: false, CodeMaxInstances: false} {
		require.Equal(t, want, (&Error{Code: code}).UserSide(), code)
	}
}

func TestEveryKindHasANameOfItsOwn(t *testing.T) {
	seen := map[string]bool{}
	for _, k := range Kinds() {
		require.False(t, seen[k.String()], k)
		seen[k.String()] = true
	}
	require.Equal(t, "init", Init.String())
	require.Equal(t, "canceled", Canceled.String())
	require.Equal(t, Canceled, Kinds()[len(Kinds())-1], "every kind has its name")
	require.Equal(t, "internal", Kind(200).String())
}
