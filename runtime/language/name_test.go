package language

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestRuntimeNameGivesALanguageOrWhyNot(t *testing.T) {
	t.Parallel()
	for _, l := range All {
		got, err := ByName(l.Name)
		require.NoError(t, err)
		require.Same(t, l, got)
	}
	for name, want := range map[string]string{
		"Node.js20.15": "nodejs", "Node.js6.10": "nodejs", "nodejs18.15": "nodejs", "Python3.10": "python", "python3.12": "python", "Go1.x": "go", "PHP7.3": "php", "php8.3": "php", "Custom": "custom", "Custom Image": "container", "Java8": "java", "Java21": "java", "HTTP": "http", " Python3.9 ": "python",
	} {
		got, err := ByName(name)
		require.NoError(t, err, name)
		require.Equal(t, want, got.Name, name)
	}
	for name, says := range map[string]string{
		"C#(.NET Core 3.1)": "C# functions are not supported",
		"Python2.7":         "Python 2 is not supported; Python 3.8 and later are", "python2": "Python 2 is not supported", "Node.js20.15-beta": "is not one of",
	} {
		_, err := ByName(name)
		require.ErrorContains(t, err, says, name)
	}
	_, err := ByName("csharp")
	require.ErrorContains(t, err, "C# functions are not supported in this version: publish it as a program of its own")
	_, err = ByName("cobol")
	require.ErrorContains(t, err, `runtime "cobol" is not one of: nodejs, python, java, php, go, custom, http, container`)
}
