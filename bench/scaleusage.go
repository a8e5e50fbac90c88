package main

import (
	"context"
	"fmt"
	"math"
	"time"
)

// usage is what idle servers use.
type usage struct {
	memory    estimate  // of the largest server, MB
	processor estimate  // of all together, per cent of a core
	servers   []float64 // memory of each at the end, MB
}

// estimate is a mean, and twice its standard error.
type estimate struct{ mean, noise float64 }

// estimated makes an estimate of samples, at least two.
func estimated(samples []float64) estimate {
	n, sum, squares := float64(len(samples)), 0.0, 0.0
	for _, v := range samples {
		sum += v
	}
	mean := sum / n
	for _, v := range samples {
		squares += (v - mean) * (v - mean)
	}
	return estimate{mean, 2 * math.Sqrt(squares/(n-1)/n)}
}

// slope is what each of n costs more than before.
func slope(before, after estimate, n int) estimate {
	return estimate{
		mean: (after.mean - before.mean) / float64(n), noise: math.Hypot(before.noise, after.noise) / float64(n),
	}
}

// clear says that the mean is not within the noise.
func (e estimate) clear() bool { return e.mean > e.noise }

// bound is what it is at most.
func (e estimate) bound() float64 { return max(e.mean, 0) + e.noise }

// row shows the mean between its bounds, or, where it is within the noise, only the upper bound.
func (e estimate) row(figure, format string, t target) *row {
	if !e.clear() {
		return scaleValue(figure+": within the noise, at most", format, t, e.bound())
	}
	return scaleValue(figure, format, t, e.mean-e.noise, e.mean, e.mean+e.noise)
}

// idle measures the servers while nothing goes on.
func (c *natsCluster) idle(ctx context.Context, budget *scaleBudget) (u usage, err error) {
	if err := pause(ctx, budget.quiet); err != nil {
		return u, err
	}
	var memory, processor []float64
	before, err := c.processor()
	if err != nil {
		return u, err
	}
	for began := time.Now(); len(processor) < budget.windows; {
		if err := pause(ctx, budget.window); err != nil {
			return u, err
		}
		now := time.Now()
		after, err := c.processor()
		if err != nil {
			return u, err
		}
		processor = append(processor, 100*float64(after-before)/float64(now.Sub(began)))
		before, began = after, now
		largest := 0.0
		u.servers = nil
		for _, s := range c.servers {
			mb, err := residentMB(s.cmd.Process.Pid)
			if err != nil {
				return u, err
			}
			largest, u.servers = max(largest, mb), append(u.servers, mb)
		}
		memory = append(memory, largest)
	}
	u.memory, u.processor = estimated(memory), estimated(processor)
	return u, nil
}

func (c *natsCluster) processor() (all time.Duration, err error) {
	for _, s := range c.servers {
		used, err := cpuTime(s.cmd.Process.Pid)
		if err != nil {
			return 0, err
		}
		all += used
	}
	return all, nil
}

// cost is one quantity of the servers: with few functions, with all that were made known, with agents as well.
type cost struct {
	empty, known, with     estimate
	few, functions, agents int // functions of empty, functions of known and with, agents of with
}

func (c *cost) function() estimate { return slope(c.empty, c.known, c.functions-c.few) }
func (c *cost) agent() estimate    { return slope(c.known, c.with, c.agents) }

// whole says that both parts were measured.
func (c *cost) whole() bool { return c.functions > c.few && c.agents > 0 }

// measured says that nothing has to be accounted.
func (c *cost) measured() bool { return c.functions == knownFunctions && c.agents == withAgents }

// all is what the functions and agents of the target cost. exact is false if a part is within the noise: then the mean
// with the noise is an upper bound. The three measurements are independent, and have these weights in the sum.
func (c *cost) all() (e estimate, exact bool) {
	if c.measured() {
		return c.with, true
	}
	p, q := float64(knownFunctions-c.few)/float64(c.functions-c.few), withAgents/float64(c.agents)
	e.noise = math.Hypot(math.Hypot((1-p)*c.empty.noise, (p-q)*c.known.noise), q*c.with.noise)
	function, agent := c.function(), c.agent()
	e.mean = c.empty.mean + float64(knownFunctions-c.few)*max(function.mean, 0) + withAgents*max(agent.mean, 0)
	return e, function.clear() && agent.clear()
}

// row shows what the functions and agents of the target cost, and how that figure was found.
func (c *cost) row(quantity, format string, t target) *row {
	figure := fmt.Sprintf("%s, %d functions known, %d with agents", quantity, knownFunctions, withAgents)
	e, exact := c.all()
	switch {
	case c.measured():
		figure += ", measured"
	case exact:
		figure += ", accounted: base + N × a function's + M × an agent's"
	default:
		figure += ", accounted; a part is within the noise: at most"
		return scaleValue(figure, format, t, e.mean+e.noise)
	}
	return scaleValue(figure, format, t, max(e.mean-e.noise, 0), e.mean, e.mean+e.noise)
}

// rows shows the parts.
func (c *cost) rows(unit, format string) (rows []*row) {
	if c.functions > c.few {
		figure := fmt.Sprintf("… each of %d functions known, %s", c.functions-c.few, unit)
		rows = append(rows, c.function().row(figure, format, target{}))
	}
	if c.agents > 0 {
		figure := fmt.Sprintf("… each of %d agents more, %s", c.agents, unit)
		rows = append(rows, c.agent().row(figure, format, target{}))
	}
	return rows
}
