package e2e

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// phpShop is a function as public ones are written: below src/, with packages of Composer, classes around events and
// answers, settings from everywhere, state that lives as long as the worker.
var phpShop = map[string]string{
	"src/index.php": `<?php

require_once __DIR__ . '/../vendor/autoload.php';
require_once __DIR__ . '/Loader.php';

use Shop\Event\Order;
use Shop\Answer;
use function Shop\price;

$loader = new Loader();

function initializer($context)
{
  $logger = $context->getLogger();
  $output = 'ready: ' . $context->getFunctionName();
  $logger->debug($output);
  return $output;
}

function handler($event, $context)
{
  static $calls = 0;
  global $loader;
  $calls++;
  $logger = $context->getLogger();
  switch ($event->do) {
    case 'array':
      $all = json_decode(json_encode($event), true);
      return ['statusCode' => 200, 'isBase64Encoded' => false, 'body' => json_encode($all['list'][0]['name']), 'headers' => ['Content-Type' => 'application/json']];
    case 'object':
      $order = new Order($event);
      $logger->info('order: ' . $order->getItems()[0]->getName());
      return $order;
    case 'answer':
      $answer = new Answer(201, '', ['a' => 'b']);
      $answer->setBody(['grüße' => price(2)], true);
      $logger->info('returning: ' . json_encode($answer->toJson()));
      return $answer->toJson();
    case 'settings':
      return [
        getenv('K'), getenv('NONE') ?: 'default', $_SERVER['K'], $_ENV['K'], $context->getUserData('K') ?: 'none', $context->getUserData('NONE') ?: 'default',
        getenv('RUNTIME_PROJECT_ID') === $context->getProjectID(), getenv('RUNTIME_CODE_ROOT') === dirname(__DIR__), isset($_SERVER['RUNTIME_LOG_PATH']),
        $context->getPackage(), $context->getVersion(), $context->getAlias(), $context->getMemorySize(), $context->getCPUNumber(), $context->getRunningTimeInSeconds(),
        $context->getRemainingTimeInMilliSeconds() > 0, $context->geteventID() === $context->getRequestID(), $context->GETTRACEID() === $context->getRequestID(),
        $context->getWorkflowID() . $context->getWorkflowRunID() . $context->getWorkflowStateID(),
      ];
    case 'keys':
      return implode(' ', [$context->getAccessKey(), $context->getSecretKey(), $context->getSecurityAccessKey(), $context->getSecuritySecretKey(), $context->getSecurityToken(), $context->getToken()]);
    case 'shown':
      ob_start();
      var_dump($context);
      return strlen(ob_get_clean()) > 0 && strpos(print_r($context, true) . var_export($context, true), 'ssk') === false ? 'hidden' : 'shown';
    case 'calls':
      return $calls;
    case 'loaded':
      return [$loader->loaded, (new Tools_Old())->name, (new Tools\Fresh())->name, tools_made()];
    case 'nothing':
      printf("ExceptionCode:%s\n", 'none');
      return;
    case 'finally':
      $temporary = tempnam(sys_get_temp_dir(), 'shop');
      try {
        json_decode('{', false, 512, JSON_THROW_ON_ERROR);
      } catch (JsonException $e) {
        return 'caught ' . $e->getCode();
      } finally {
        unlink($temporary);
      }
    case 'throws':
      throw new RuntimeException('Backend request failed with status ' . 500);
    case 'strict':
      return Shop\Strict\half(3);
    case 'generator':
      return iterator_to_array((function () { yield 'a' => 1; yield 'b' => 2; })());
    case 'date':
      return (new DateTimeImmutable('2020-01-02', new DateTimeZone('UTC')))->format(DATE_ATOM);
  }
}
`,
	"src/Loader.php": `<?php
class Loader
{
  public $loaded = [];
  function __construct()
  {
    $root = getenv('RUNTIME_CODE_ROOT') . '/vendor';
    foreach (new RecursiveIteratorIterator(new RecursiveDirectoryIterator($root, FilesystemIterator::SKIP_DOTS), RecursiveIteratorIterator::SELF_FIRST) as $dir) {
      if ($dir->isDir() && is_file("$dir/package.json")) {
        $package = json_decode(file_get_contents("$dir/package.json"), true);
        $this->loaded[] = $package['name'];
        foreach ($package['files'] as $file) { include_once "$dir/$file"; }
        spl_autoload_register(function ($class) use ($dir) {
          $file = "$dir/src/" . strtr($class, '\\_', '//') . '.php';
          if (is_file($file)) { include_once $file; }
        });
      }
    }
  }
}
`,
	"vendor/autoload.php": `<?php
spl_autoload_register(static function ($class) {
  if (strncmp($class, 'Shop\\', 5) === 0) { require __DIR__ . '/shop/shop/src/' . strtr(substr($class, 5), '\\', '/') . '.php'; }
}, true, true);
require __DIR__ . '/shop/shop/src/functions.php';
require __DIR__ . '/shop/shop/src/strict.php';
return new stdClass;
`,
	"vendor/shop/shop/src/functions.php": "<?php\nnamespace Shop;\nfunction price($n) { return $n * 1.5; }\n",
	"vendor/shop/shop/src/strict.php":    "<?php\ndeclare(strict_types=1);\nnamespace Shop\\Strict;\nfunction half(int $n): float { return $n / 2; }\n",
	"vendor/shop/shop/src/Event/Order.php": `<?php
namespace Shop\Event;
class Order implements \JsonSerializable
{
  private $items;
  public function __construct($event)
  {
    $event = is_array($event) ? $event : json_decode(json_encode($event), true);
    $this->items = array_map(function ($item) { return new Item($item['name'] ?? null); }, $event['list']);
  }
  public function getItems() { return $this->items; }
  #[\ReturnTypeWillChange]
  public function jsonSerialize() { return ['items' => $this->items]; }
}
`,
	"vendor/shop/shop/src/Event/Item.php": `<?php
namespace Shop\Event;
final class Item { public $name; private $hidden = 1; protected $kept = 2; function __construct($name) { $this->name = $name; } function getName() { return $this->name; } }
`,
	"vendor/shop/shop/src/Answer.php": `<?php
namespace Shop;
class Answer
{
  private $all;
  public function __construct($status, $body, $headers) { $this->all = ['statusCode' => $status, 'headers' => $headers, 'body' => $body, 'isBase64Encoded' => false]; }
  public function setBody($body, $encoded)
  {
    $text = is_string($body) ? $body : json_encode($body);
    $this->all['body'] = $encoded ? base64_encode($text) : $text;
    $this->all['isBase64Encoded'] = $encoded;
  }
  public function toJson() { return $this->all; }
}
`,
	"vendor/tools/package.json":        `{"name":"tools/tools","files":["made.php"]}`,
	"vendor/tools/made.php":            "<?php\nfunction tools_made() { return 'made'; }\n",
	"vendor/tools/src/Tools/Old.php":   "<?php\nclass Tools_Old { public $name = 'old'; }\n",
	"vendor/tools/src/Tools/Fresh.php": "<?php\nnamespace Tools;\nclass Fresh { public $name = 'fresh'; }\n",
}

// TestPHPFunctionsAsTheyAreWrittenRun: one worker, so that what one call leaves behind would meet the next.
func TestPHPFunctionsAsTheyAreWrittenRun(t *testing.T) {
	t.Parallel()
	needPHP(t)
	r := start(t, writeFiles(t, phpShop), "RUNTIME_HANDLER=src/index.handler", "RUNTIME_INITIALIZER_HANDLER=src/index.initializer",
		"RUNTIME_INITIALIZER_TIMEOUT=60", "RUNTIME_TIMEOUT=60", "RUNTIME_FUNC_NAME=shop", "GANTRY_TRUST_PLATFORM_HEADERS=true",
		`RUNTIME_USERDATA={"K":"v"}`, "RUNTIME_PACKAGE=apps", "RUNTIME_FUNC_VERSION=v7")
	headers := []string{
		"X-CFF-Access-Key: ak", "X-CFF-Secret-Key: sk", "X-CFF-Security-Access-Key: sak", "X-CFF-Security-Secret-Key: ssk",
		"X-CFF-Security-Token: st", "X-CFF-Auth-Token: at", "X-Cff-Origin-Version-Tag: !blue",
		"X-Cff-Workflow-Id: w", "X-Cff-Workflow-Run-Id: r", "X-Cff-Workflow-State-Id: s",
	}
	for i, c := range []struct{ do, want string }{
		{"array", `{"statusCode":200,"isBase64Encoded":false,"body":"\"first\"","headers":{"Content-Type":"application\/json"}}`},
		{"object", `{"items":[{"name":"first"}]}`},
		{"answer", `{"statusCode":201,"headers":{"a":"b"},"body":"eyJnclx1MDBmY1x1MDBkZmUiOjN9","isBase64Encoded":true}`},
		{"settings", `["v","default","v","v","v","default",true,true,true,"apps","v7","blue","512","300",60,true,true,true,"wrs"]`},
		{"keys", "ak sk sak ssk st at"},
		{"shown", "hidden"},
		{"calls", "7"},
		{"loaded", `[["tools\/tools"],"old","fresh","made"]`},
		{"nothing", ""},
		{"finally", "caught 4"},
		{"throws", "function invocation exception, error: Backend request failed with status 500"},
		{"strict", "1.5"},
		{"generator", `{"a":1,"b":2}`},
		{"date", "2020-01-02T00:00:00+00:00"},
		{"unknown", ""},
		{"calls", "16"},
	} {
		event, err := json.Marshal(map[string]any{"do": c.do, "list": []any{map[string]any{"name": "first"}}})
		require.NoError(t, err)
		got := r.invoke(string(event), headers...)
		if c.do == "throws" {
			require.Equal(t, 500, got.status)
			require.Contains(t, got.body, c.want)
			require.Contains(t, got.body, "at handler (./src/index.php:")
			continue
		}
		require.Equal(t, 200, got.status, "%d %s: %s", i, c.do, got.body)
		require.Equal(t, c.want, got.body, c.do)
	}
	text := r.stdout.String()
	for _, line := range []string{"INFO order: first\n", `INFO returning: {"statusCode":201,`, "ExceptionCode:none\n"} {
		require.Contains(t, text, line)
	}
	require.Equal(t, 0, strings.Count(text, "ready: "), "debug is below the level")
}
