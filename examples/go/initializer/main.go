// Command initializer looks articles up in a table that is filled once per process, before the first event.
package main

import (
	"context"
	"fmt"
	"gantry/function"
)

var table map[string]string

type event struct {
	SKU string `json:"sku"`
}

type article struct {
	SKU      string `json:"sku"`
	Name     string `json:"name"`
	Currency string `json:"currency"`
}

func initialize(ctx context.Context) error {
	function.FromContext(ctx).GetLogger().Logf("filling the table")
	table = map[string]string{"sku-1": "anvil", "sku-2": "rocket skates"}
	return nil
}

func handle(ctx context.Context, e event) (article, error) {
	call := function.FromContext(ctx)
	name, ok := table[e.SKU]
	if !ok {
		return article{}, fmt.Errorf("unknown sku %q", e.SKU)
	}
	currency := call.GetUserData("currency")
	if currency == "" {
		currency = "EUR"
	}
	call.GetLogger().Slog().Info("found", "sku", e.SKU, "name", name)
	return article{SKU: e.SKU, Name: name, Currency: currency}, nil
}

func main() { function.Start(handle, function.Initializer(initialize)) }
