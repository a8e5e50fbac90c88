// Package junit writes the results of a command as JUnit XML, as far as the tools that read it agree on its form. What
// XML cannot carry, such as control characters, is written as U+FFFD.
package junit

import (
	"encoding/xml"
	"fmt"
	"io"
	"time"
)

// Suite is the results of one run of a command.
type Suite struct {
	Name  string
	Began time.Time
	Took  time.Duration
	Cases []Case
}

// Case is one result. At most one of Failure, Error and Skipped is set; without them the case has passed.
type Case struct {
	Class, Name string
	Took        time.Duration
	// Failure says that something is not as it should be, Error that it could not be tried, Skipped that there was no way
	// or no need to.
	Failure, Error, Skipped *Problem
	// Out and Err are what belongs to the case as system-out and system-err; empty ones are left out.
	Out, Err string
}

// Problem is why a case has not passed: a line for lists, and the whole text. Skipped has a message alone.
type Problem struct{ Type, Message, Text string }

// Write writes one document with s to w; the error is that of w.
func Write(w io.Writer, s *Suite) error {
	suite := xmlSuite{
		Name: s.Name, Tests: len(s.Cases), Time: seconds(s.Took), Timestamp: s.Began.UTC().Format("2006-01-02T15:04:05"),
	}
	for i := range s.Cases {
		c := &s.Cases[i]
		suite.Cases = append(suite.Cases, xmlCase{
			Class: c.Class, Name: c.Name, Time: seconds(c.Took), Skipped: problem(c.Skipped, &suite.Skipped),
			Error: problem(c.Error, &suite.Errors), Failure: problem(c.Failure, &suite.Failures), Out: c.Out, Err: c.Err,
		})
	}
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	enc := xml.NewEncoder(w)
	enc.Indent("", "  ")
	if err := enc.Encode(xmlSuites{
		Tests: suite.Tests, Failures: suite.Failures, Errors: suite.Errors, Skipped: suite.Skipped, Time: suite.Time,
		Suites: []xmlSuite{suite},
	}); err != nil {
		return err
	}
	_, err := io.WriteString(w, "\n")
	return err
}

// problem counts p, if there is one.
func problem(p *Problem, n *int) *xmlProblem {
	if p == nil {
		return nil
	}
	*n++
	return &xmlProblem{Message: p.Message, Type: p.Type, Text: p.Text}
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.3f", d.Seconds()) }

type xmlSuites struct {
	XMLName  xml.Name   `xml:"testsuites"`
	Tests    int        `xml:"tests,attr"`
	Failures int        `xml:"failures,attr"`
	Errors   int        `xml:"errors,attr"`
	Skipped  int        `xml:"skipped,attr"`
	Time     string     `xml:"time,attr"` // in seconds, as all times
	Suites   []xmlSuite `xml:"testsuite"`
}

type xmlSuite struct {
	Name      string    `xml:"name,attr"`
	Tests     int       `xml:"tests,attr"`
	Failures  int       `xml:"failures,attr"`
	Errors    int       `xml:"errors,attr"`
	Skipped   int       `xml:"skipped,attr"`
	Time      string    `xml:"time,attr"`
	Timestamp string    `xml:"timestamp,attr"`
	Cases     []xmlCase `xml:"testcase"`
}

// xmlCase has its members in the order of the schemas.
type xmlCase struct {
	Class   string      `xml:"classname,attr"`
	Name    string      `xml:"name,attr"`
	Time    string      `xml:"time,attr"`
	Skipped *xmlProblem `xml:"skipped"`
	Error   *xmlProblem `xml:"error"`
	Failure *xmlProblem `xml:"failure"`
	Out     string      `xml:"system-out,omitempty"`
	Err     string      `xml:"system-err,omitempty"`
}

type xmlProblem struct {
	Message string `xml:"message,attr"`
	Type    string `xml:"type,attr,omitempty"`
	Text    string `xml:",chardata"`
}
