package explain

// table has a row for every code that the agent sends: those of the platform and its own error types.
var table = []row{
	{
		[]string{"4001"},
		texts{"the function cannot be entered, or it answered an error", "函数入口不可用，或函数返回了错误"},
		texts{
			"The handler or its file was not found or cannot be loaded, the handler called callback(err), or a Go handler returned an error.",
			"找不到处理函数或其文件、文件无法加载、处理函数调用了 callback(err)，或 Go 处理函数返回了 error。",
		},
		texts{
			"Read errorMessage: it names the file or has the function's own text. --handler is [path/]file.function. After a change, SIGHUP loads the code again.",
			"查看 errorMessage：其中有文件名或函数自己的错误信息。--handler 的格式为 [路径/]文件名.函数名。修改代码后，SIGHUP 会重新加载。",
		},
	},
	{
		[]string{"4002"},
		texts{"the function threw an error, or the event is not JSON", "函数抛出异常，或事件不是 JSON"},
		texts{
			"An exception left the handler, a Promise was rejected, or the body of the request cannot be parsed.",
			"处理函数抛出了异常、Promise 被拒绝，或请求体无法解析。",
		},
		texts{
			"errorType and the stack name the place in your code. Check the event with: bootstrap invoke --event FILE.",
			"errorType 和调用栈指出代码位置。可用 bootstrap invoke --event FILE 检查事件。",
		},
	},
	{
		[]string{"4004"},
		texts{"the result is too large", "返回结果过大"},
		texts{"The result is over the limit, 6 MiB by default.", "返回结果超过上限，默认 6 MiB。"},
		texts{
			"Return less, or store the result and return its address. RUNTIME_MAX_RESP_BODY_SIZE is the limit here; the platform's stays.",
			"减小返回结果，或将结果保存到存储后返回其地址。本地上限由 RUNTIME_MAX_RESP_BODY_SIZE 设置；平台的上限不变。",
		},
	},
	{
		[]string{"4007"},
		texts{"the result cannot be converted to JSON", "返回结果无法转换为 JSON"},
		texts{
			"The handler returned something that JSON cannot hold: a cycle, a BigInt, bytes, an object without a serialiser.",
			"处理函数返回了 JSON 无法表示的值：循环引用、BigInt、字节串或不可序列化的对象。",
		},
		texts{"Return plain data, or a string that you have made yourself.", "返回普通数据，或自行生成的字符串。"},
	},
	{
		[]string{"4009"},
		texts{"the initializer failed", "初始化函数失败"},
		texts{"The initializer threw, answered an error, or is not in the handler's file.", "初始化函数抛出异常、返回错误，或不在处理函数的文件中。"},
		texts{
			"Read errorMessage; --initializer is file.function in the handler's file. The function is tried again after a pause, or by SIGHUP.",
			"查看 errorMessage；--initializer 的格式为处理函数所在文件的 文件名.函数名。间隔一段时间后会重试，也可用 SIGHUP 重新加载。",
		},
	},
	{
		[]string{"4010", "Runtime.Timeout"},
		texts{"the call passed its deadline", "调用超时"},
		texts{
			"The handler had not answered when its time was over: it computes too long, waits for something, or never settles its Promise or callback.",
			"到达时限时处理函数仍未返回：计算过久、等待外部资源，或未结束 Promise 或 callback。",
		},
		texts{
			"Look at the call's last log lines, and at hint where there is one. Give what it waits for a shorter limit, or raise RUNTIME_TIMEOUT (--timeout).",
			"查看该调用的最后几行日志，以及 hint（如有）。为外部调用设置更短的超时，或调大 RUNTIME_TIMEOUT（--timeout）。",
		},
	},
	{
		[]string{"4140", "Request.TooLarge", "FSS.0413"},
		texts{"the request is too large", "请求体过大"},
		texts{"An event has at most 6 MiB, an asynchronous one 256 KiB.", "事件最大 6 MiB，异步事件最大 256 KiB。"},
		texts{"Put the data into a store and send its address.", "将数据放入存储，并发送其地址。"},
	},
	{
		[]string{"4204", "Runtime.Exited"},
		texts{"the function's process ended during the call", "函数进程在调用期间退出"},
		texts{
			"The code ended the process (process.exit, os._exit, a panic outside the handler), or a signal did.",
			"代码结束了进程（process.exit、os._exit、处理函数之外的 panic），或进程被信号终止。",
		},
		texts{
			"errorMessage has exit code or signal; stderr and the log have the last lines. A new process was started already.",
			"errorMessage 中有退出码或信号；stderr 和日志中有最后几行。新进程已经启动。",
		},
	},
	{
		[]string{"4205", "Runtime.OutOfMemory"},
		texts{"the function used more memory than it may", "函数内存超限"},
		texts{"The process was killed at the limit of RUNTIME_MEMORY or of its container.", "进程达到 RUNTIME_MEMORY 或容器的内存上限而被终止。"},
		texts{
			"Raise RUNTIME_MEMORY (--memory), or the container's limit, or use less. The Finish lines of the log say how much calls use.",
			"调大 RUNTIME_MEMORY（--memory）或容器上限，或减少内存使用。日志的 Finish 行记录了内存用量。",
		},
	},
	{
		[]string{"4208", "Runtime.Canceled"},
		texts{"the call was canceled", "调用被取消"},
		texts{
			"An asynchronous request was canceled. Calls that ran in the same process end with it.",
			"异步请求被取消。同一进程中的其他调用也会随之结束。",
		},
		texts{"Send the event again if it is still wanted.", "如仍需要，请重新发送事件。"},
	},
	{
		[]string{"4211", "Runtime.InitTimeout", "Runtime.StartFailed"},
		texts{"the function's process did not become ready", "函数进程未能就绪"},
		texts{
			"Loading the code or the initializer took too long, or the interpreter cannot be started.",
			"加载代码或初始化函数耗时过长，或解释器无法启动。",
		},
		texts{
			"Look for work or waiting at the top level of the code. RUNTIME_INITIALIZER_TIMEOUT (--init-timeout) is the limit of the initializer, and raises that of the load.",
			"检查代码顶层是否有耗时操作或等待。初始化函数的时限由 RUNTIME_INITIALIZER_TIMEOUT（--init-timeout）设置，它也会延长加载的时限。",
		},
	},
	{
		[]string{"Runtime.ProtocolError"},
		texts{"the function's process broke the protocol", "函数进程违反协议"},
		texts{
			"Something wrote to the connection between agent and worker, or the worker's program is of another version.",
			"有程序写入了代理与工作进程之间的连接，或工作进程版本不匹配。",
		},
		texts{
			"Look for code that writes to file descriptors it did not open. A Go function has to be built with the module's current version.",
			"检查代码是否写入了并非由它打开的文件描述符。Go 函数需使用当前版本的模块构建。",
		},
	},
	{
		[]string{"150429", "Instance.Throttled", "FSS.0429"},
		texts{"there is no room for the call now", "当前没有容量处理该调用"},
		texts{
			"All slots are taken and the waiting room is full, or the wait was too long, or memory for bodies is used up.",
			"所有并发槽位已占用且等待队列已满、等待过久，或请求体内存已用尽。",
		},
		texts{
			"Try again after Retry-After. GANTRY_CONCURRENCY and GANTRY_WORKERS are the slots, GANTRY_QUEUE and GANTRY_QUEUE_WAIT the waiting room.",
			"按 Retry-After 稍后重试。槽位由 GANTRY_CONCURRENCY 和 GANTRY_WORKERS 设置，等待队列由 GANTRY_QUEUE 和 GANTRY_QUEUE_WAIT 设置。",
		},
	},
	{
		[]string{"150503", "Instance.Draining", "FSS.0503"},
		texts{"the instance is stopping, or takes no calls", "实例正在停止，或不接受调用"},
		texts{
			"A signal to stop arrived, or connections are used up. An extension that is required may be missing.",
			"收到了停止信号，或连接数已用尽；也可能缺少必需的扩展。",
		},
		texts{"Send the call to another instance, or again after Retry-After. /readyz says why.", "请调用其他实例，或按 Retry-After 重试。/readyz 会说明原因。"},
	},
	{
		[]string{"Queue.Unavailable"},
		texts{"there is no asynchronous invocation", "异步调用不可用"},
		texts{
			"The queue's program gantry-jetstream is not beside the agent, its folder cannot be used, or the NATS servers cannot be reached.",
			"代理旁没有队列程序 gantry-jetstream、其目录不可用，或无法连接 NATS 服务器。",
		},
		texts{"The message says which. See docs/ASYNC.md.", "错误信息会指明原因。参见 docs/ASYNC.md。"},
	},
	{
		[]string{"400", "Request.Invalid", "FSS.0400"},
		texts{"the request is not valid", "请求无效"},
		texts{"A header, the path, a parameter or the framing of the request is wrong.", "请求头、路径、参数或报文格式有误。"},
		texts{"The message names what was wrong and what would be right.", "错误信息会指出错误之处和正确写法。"},
	},
	{
		[]string{"FSS.0406"},
		texts{"the body is not a JSON event", "请求体不是 JSON 事件"},
		texts{"The function takes JSON, and the body cannot be parsed.", "函数接受 JSON，但请求体无法解析。"},
		texts{"Send valid JSON; a text needs quotation marks.", "请发送合法的 JSON；文本需加引号。"},
	},
	{
		[]string{"FSS.0409"},
		texts{"it is taken already", "资源已被占用"},
		texts{"Another request has the same id, or changed the same thing at the same time.", "另一个请求使用了相同的 ID，或同时修改了同一对象。"},
		texts{"Read the current state and try again.", "读取当前状态后重试。"},
	},
	{
		[]string{"Request.Forbidden", "FSS.0403"},
		texts{"the caller may not do this", "调用者无权限"},
		texts{
			"The user has not the action in the users file, or a page of another origin or under another host name asks.",
			"用户文件中该用户没有此操作权限，或请求来自其他源或主机名。",
		},
		texts{
			"Add the action to the user, or call under localhost. A listener on an address that is not loopback answers other names.",
			"为用户添加该操作权限，或通过 localhost 调用。监听非回环地址时可使用其他主机名。",
		},
	},
	{
		[]string{"Request.Unauthorized", "APIGW.0301"},
		texts{"the caller is not known", "身份认证失败"},
		texts{
			"Signature or token is missing, wrong or expired, or the clock is more than 15 minutes off.",
			"签名或令牌缺失、错误或已过期，或时钟偏差超过 15 分钟。",
		},
		texts{
			"Check access key, secret key, and the signed headers; POST /v3/auth/tokens makes a token. docs/API.md has an example for each.",
			"检查访问密钥、密钥和签名的请求头；令牌由 POST /v3/auth/tokens 获取。示例见 docs/API.md。",
		},
	},
	{
		[]string{"Request.NotFound", "FSS.0404"},
		texts{"there is no such thing here", "资源不存在"},
		texts{"The path, the project, the function or the request id is not known to this agent.", "该代理不认识此路径、项目、函数或请求 ID。"},
		texts{
			"The message says what is here. The function's name is RUNTIME_FUNC_NAME (--name), by default the code folder's.",
			"错误信息会说明此处有什么。函数名由 RUNTIME_FUNC_NAME（--name）设置，默认为代码目录名。",
		},
	},
	{
		[]string{"APIGW.0101"},
		texts{"there is no such API", "API 不存在"},
		texts{"Path or method belong to no route of the platform API.", "路径或方法不属于平台 API 的任何路由。"},
		texts{"Compare the path with docs/API.md; an event is posted to …/functions/URN/invocations.", "对照 docs/API.md 检查路径；事件应发送到 …/functions/URN/invocations。"},
	},
	{
		[]string{"APIGW.0201"},
		texts{"the answer did not come in the gateway's time", "网关等待响应超时"},
		texts{"The call takes longer than GANTRY_API_GATEWAY_TIMEOUT; it goes on.", "调用耗时超过 GANTRY_API_GATEWAY_TIMEOUT；调用仍在继续。"},
		texts{"Call it asynchronously: …/invocations-async.", "使用异步调用：…/invocations-async。"},
	},
	{
		[]string{"APIG.0101"},
		texts{"API Gateway has no such API", "API 网关中不存在该 API"},
		texts{"The file of GANTRY_APIG_ROUTES has no route with this path and method.", "GANTRY_APIG_ROUTES 的文件中没有匹配此路径和方法的路由。"},
		texts{
			"Add the route; the answer to a caller on this machine names the methods of the path. docs/TRIGGERS.md has the form.",
			"添加该路由；本机调用者可在响应中看到该路径支持的方法。格式见 docs/TRIGGERS.md。",
		},
	},
	{
		[]string{"FSS.1202"},
		texts{"API Gateway cannot use the function's answer", "API 网关无法使用函数的返回值"},
		texts{
			"It is no object with statusCode, headers, body and isBase64Encoded, or one of these has a wrong value.",
			"返回值不是包含 statusCode、headers、body、isBase64Encoded 的对象，或其中某项的值有误。",
		},
		texts{
			"The log, and the answer to a caller on this machine, name the member and the line to write.",
			"日志和对本机调用者的响应会指出有误的字段和正确写法。",
		},
	},
	{
		[]string{"FSS.1001"},
		texts{"a query parameter cannot be read", "查询参数无效"},
		texts{"A number, a time or a status has another form than the API's.", "数字、时间或状态的格式不符合 API 要求。"},
		texts{"The message names the parameter and its form.", "错误信息会指出参数名及其格式。"},
	},
	{
		[]string{"FSS.1007"},
		texts{"no such memory size", "内存规格不存在"},
		texts{"X-Cff-Instance-Memory has to be one of the platform's sizes.", "X-Cff-Instance-Memory 必须是平台支持的规格之一。"},
		texts{"Use 128, 256, 512, 768, 1024 … 10240.", "请使用 128、256、512、768、1024 … 10240。"},
	},
	{
		[]string{"FSS.1051"},
		texts{"no such function", "函数不存在"},
		texts{"The URN names another function than the one that this agent serves.", "URN 指向的函数不是该代理所服务的函数。"},
		texts{
			"The message has the URN of this function. RUNTIME_FUNC_NAME (--name) and RUNTIME_PROJECT_ID (--project) set it.",
			"错误信息中有本函数的 URN。可用 RUNTIME_FUNC_NAME（--name）和 RUNTIME_PROJECT_ID（--project）设置。",
		},
	},
	{
		[]string{"FSS.1052"},
		texts{"no such version", "函数版本不存在"},
		texts{"The agent serves one version, also as latest.", "该代理只服务一个版本，latest 也指向它。"},
		texts{"Set it with RUNTIME_FUNC_VERSION (--function-version).", "使用 RUNTIME_FUNC_VERSION（--function-version）设置。"},
	},
	{
		[]string{"FSS.1053"},
		texts{"no such alias", "函数别名不存在"},
		texts{"The alias behind the ! is not one of this function's.", "感叹号后的别名不属于该函数。"},
		texts{"Set it with RUNTIME_ALIAS (--alias).", "使用 RUNTIME_ALIAS（--alias）设置。"},
	},
	{
		[]string{"FSS.1309"},
		texts{"the function's URN cannot be read", "函数 URN 无法解析"},
		texts{"It has neither the full form nor one of the short ones.", "既不是完整格式，也不是任何一种简写。"},
		texts{"Full form: urn:fss:REGION:PROJECT:function:PACKAGE:NAME:VERSION.", "完整格式：urn:fss:REGION:PROJECT:function:PACKAGE:NAME:VERSION。"},
	},
	{
		[]string{"500", "Gantry.Internal", "FSS.0500"},
		texts{"a defect of the agent", "代理内部错误"},
		texts{"Something happened that the agent does not provide for.", "发生了代理未预料的情况。"},
		texts{"The agent's log has the cause under the request id. Please report it.", "代理日志中按请求 ID 记录了原因。请反馈该问题。"},
	},
	{
		[]string{"Extension.MissingHeader", "Extension.InvalidHeader"},
		texts{"a header of the registration is missing or wrong", "注册请求头缺失或有误"},
		texts{
			"FunctionGraph-Extension-Name, -Address, -Events or -Mode has no value that can be used.",
			"FunctionGraph-Extension-Name、-Address、-Events 或 -Mode 的值不可用。",
		},
		texts{"The message names the header and a right value. See docs/EXTENSIONS.md.", "错误信息会指出请求头和正确的值。参见 docs/EXTENSIONS.md。"},
	},
	{
		[]string{"Extension.InvalidAddress"},
		texts{"the extension's address cannot be used", "扩展地址不可用"},
		texts{"Extensions listen on 127.0.0.1, on one of the ports 8081 to 8090.", "扩展必须监听 127.0.0.1 的 8081 至 8090 端口之一。"},
		texts{"Listen on a free one of these ports, and register it.", "监听其中一个空闲端口并注册。"},
	},
	{
		[]string{"Extension.UnknownName"},
		texts{"no extension of this name was started here", "此处未启动该名称的扩展"},
		texts{"GANTRY_EXTENSION_STRICT is set, and the name is not that of a started file.", "设置了 GANTRY_EXTENSION_STRICT，而该名称不是已启动的文件名。"},
		texts{"Register under the file's name.", "使用文件名注册。"},
	},
	{
		[]string{"Extension.AddressInUse", "Extension.AlreadyRegistered", "Extension.TooManyExtensions"},
		texts{"the address, the name or the last place is taken", "地址、名称或最后一个名额已被占用"},
		texts{"An extension has one address, an address one extension, and there are ten.", "一个扩展一个地址，一个地址一个扩展，最多十个。"},
		texts{"The message names the other extension; choose another port.", "错误信息会指出另一个扩展；请更换端口。"},
	},
	{
		[]string{"Extension.ShuttingDown"},
		texts{"the instance is stopping", "实例正在停止"},
		texts{"A registration or subscription came after the stop had begun.", "注册或订阅在停止开始后才到达。"},
		texts{"Register earlier in the extension's start.", "在扩展启动时尽早注册。"},
	},
	{
		[]string{"Extension.RequiredMissing"},
		texts{"an extension that is required is not there", "缺少必需的扩展"},
		texts{
			"GANTRY_EXTENSION_REQUIRED names it, and it was not started, has not registered, or ended.",
			"GANTRY_EXTENSION_REQUIRED 要求该扩展，但它未启动、未注册或已退出。",
		},
		texts{"The agent's log says what became of it; bootstrap check --extension FILE tries it alone.", "代理日志会说明原因；可用 bootstrap check --extension FILE 单独检查。"},
	},
	{
		[]string{"Telemetry.NotRegistered"},
		texts{"only a registered extension may subscribe", "只有已注册的扩展才能订阅"},
		texts{"The name in FunctionGraph-Extension-Name is not registered.", "FunctionGraph-Extension-Name 中的名称未注册。"},
		texts{"Register first, with the same name.", "请先用同一名称注册。"},
	},
	{
		[]string{"Telemetry.InvalidBody", "Telemetry.InvalidURI", "Telemetry.InvalidTypes", "Telemetry.InvalidBuffering"},
		texts{"the subscription cannot be read", "订阅请求无法解析"},
		texts{"Its JSON, the subscriber's URI, the types or the limits of batches are wrong.", "JSON、订阅者 URI、类型或批量限制有误。"},
		texts{"The message names the member and what would be right. See docs/EXTENSIONS.md.", "错误信息会指出字段和正确写法。参见 docs/EXTENSIONS.md。"},
	},
	{
		[]string{"Telemetry.AddressInUse", "Telemetry.AlreadySubscribed"},
		texts{"there is another subscriber, or its port is taken", "已有其他订阅者，或端口被占用"},
		texts{"Telemetry goes to one subscriber, on a port that belongs to no other extension.", "遥测只发送给一个订阅者，且其端口不属于其他扩展。"},
		texts{"The message names the other one.", "错误信息会指出另一方。"},
	},
}

// texts are one text in each language, in the order of Language.
type texts [2]string

// row explains what all of its codes have in common.
type row struct {
	// codes are numbers and strings as they are on the wire.
	codes            []string
	title, why, what texts
}
